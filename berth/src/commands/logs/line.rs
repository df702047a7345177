//! Lines of output: put together from pieces, taken apart into container, time and text, and printed behind the id of their task.

use crate::output::Output;
use clap::builder::styling::AnsiColor;
use std::io::IsTerminal;

/// Longest line put together before it is shown in parts, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Characters of a task id that are shown to people.
const ID_SHOWN: usize = 12;
/// Colours of tasks. Red is left for what went wrong.
const COLOURS: [AnsiColor; 10] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
];

/// Bytes that arrive in pieces, given back in lines.
#[derive(Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    pub fn push(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
    }

    pub fn next_line(&mut self) -> Option<String> {
        let (end, skip) = match self.0.iter().position(|byte| *byte == b'\n') {
            Some(at) if at <= LINE_BYTES_MAX => (at, 1),
            _ if self.0.len() > LINE_BYTES_MAX => (LINE_BYTES_MAX, 0),
            _ => return None,
        };
        let line = String::from_utf8_lossy(&self.0[..end]).trim_end_matches('\r').to_owned();
        self.0.drain(..end + skip);
        Some(line)
    }

    pub fn rest(&mut self) -> Option<String> {
        (!self.0.is_empty()).then(|| String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned())
    }
}

/// One line of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LogLine {
    /// When the task has several.
    pub container: Option<String>,
    /// As Docker writes it: of fixed width, so that later is greater.
    pub at: Option<String>,
    pub text: String,
}

impl LogLine {
    /// Takes a line apart. With `several` containers it begins with the name of its own; with `timestamps` then comes its time.
    pub fn parse(line: &str, several: bool, timestamps: bool) -> Self {
        let (container, line) = match line.split_once(" | ") {
            Some((container, rest)) if several => (Some(container.to_owned()), rest),
            _ => (None, line),
        };
        let (at, text) = match line.split_once(' ') {
            Some((at, text)) if timestamps && is_time(at) => (Some(at.to_owned()), text),
            // An empty line is its time alone.
            None if timestamps && is_time(line) => (Some(line.to_owned()), ""),
            _ => (None, line),
        };
        Self { container, at, text: text.to_owned() }
    }
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z')
}

/// Prints lines of one or more tasks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printer {
    out: Output,
    timestamps: bool,
    prefixed: bool,
    coloured: bool,
}

impl Printer {
    pub fn new(out: Output, timestamps: bool, prefixed: bool) -> Self {
        let stdout = std::io::stdout();
        let coloured = stdout.is_terminal() && anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        Self { out, timestamps, prefixed, coloured }
    }

    pub fn prefixes(self) -> bool {
        self.prefixed
    }

    /// The id of a task as people are shown it.
    #[expect(clippy::unused_self, reason = "the printer decides how tasks are named")]
    pub fn short(self, task: &str) -> &str {
        task.get(..ID_SHOWN).unwrap_or(task)
    }

    pub fn print(self, task: &str, line: &LogLine) {
        let value = serde_json::json!({ "task": task, "container": line.container, "at": line.at, "line": line.text });
        self.out.line(&self.text(task, line), &value);
    }

    /// A line as people see it. Pure.
    fn text(self, task: &str, line: &LogLine) -> String {
        let mut prefix = if self.prefixed { self.short(task).to_owned() } else { String::new() };
        if let Some(container) = &line.container {
            prefix = if prefix.is_empty() { container.clone() } else { format!("{prefix} {container}") };
        }
        let at = line.at.as_ref().filter(|_| self.timestamps).map(|at| format!("{at} ")).unwrap_or_default();
        match (prefix.is_empty(), self.coloured) {
            (true, _) => format!("{at}{}", line.text),
            (false, false) => format!("{prefix} | {at}{}", line.text),
            (false, true) => {
                let style = colour(task).on_default();
                format!("{style}{prefix} |{style:#} {at}{}", line.text)
            }
        }
    }
}

/// Always the same one for a task.
fn colour(task: &str) -> AnsiColor {
    let sum = task.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    COLOURS[sum % COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    #[test]
    fn pieces_become_lines() {
        let mut lines = Lines::default();
        lines.push(b"one\r\ntw");
        assert_eq!(lines.next_line().as_deref(), Some("one"));
        assert_eq!(lines.next_line(), None);
        lines.push(b"o\n\nrest");
        assert_eq!(lines.next_line().as_deref(), Some("two"));
        assert_eq!(lines.next_line().as_deref(), Some(""));
        assert_eq!(lines.next_line(), None);
        assert_eq!(lines.rest().as_deref(), Some("rest"));
        lines.push(&vec![b'x'; LINE_BYTES_MAX + 1]);
        assert_eq!(lines.next_line().map(|line| line.len()), Some(LINE_BYTES_MAX));
    }

    #[test]
    fn lines_are_taken_apart() {
        let line = |container: Option<&str>, at: Option<&str>, text: &str| LogLine {
            container: container.map(str::to_owned),
            at: at.map(str::to_owned),
            text: text.into(),
        };
        let at = "2026-01-01T00:00:00.000000001Z";
        assert_eq!(LogLine::parse(&format!("app | {at} a | b"), true, true), line(Some("app"), Some(at), "a | b"));
        assert_eq!(LogLine::parse(&format!("{at} a | b"), false, true), line(None, Some(at), "a | b"));
        assert_eq!(LogLine::parse(at, false, true), line(None, Some(at), ""));
        assert_eq!(LogLine::parse("a | b", false, false), line(None, None, "a | b"));
        assert_eq!(LogLine::parse("no time", false, true), line(None, None, "no time"));
    }

    #[test]
    fn lines_of_several_tasks_carry_their_id() {
        let printer = Printer { out: Output { format: Format::Plain }, timestamps: false, prefixed: true, coloured: false };
        let line = LogLine { container: Some("app".into()), at: Some("2026".into()), text: "hello".into() };
        assert_eq!(printer.text("0123456789abcdef", &line), "0123456789ab app | hello");
        assert_eq!(Printer { timestamps: true, prefixed: false, ..printer }.text("0", &line), "app | 2026 hello");
        assert!(Printer { coloured: true, ..printer }.text("0", &line).starts_with("\u{1b}["));
    }
}
