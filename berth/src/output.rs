//! What commands print. Data goes to stdout: a table on a terminal, tab-separated lines in a pipe, JSON with `--json`, ids with `-q`.
//! Remarks for people go to stderr. Colour follows `NO_COLOR`.

use anstream::AutoStream;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};

/// Widest table when the terminal does not say.
const WIDTH_DEFAULT: u16 = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Plain,
    Json,
    /// Ids only.
    Quiet,
}

/// Where and how a command prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub format: Format,
}

/// A list of things: one row each, and the id that `-q` prints.
#[derive(Debug, Clone)]
pub struct Rows {
    headers: &'static [&'static str],
    lines: Vec<(String, Vec<String>)>,
    empty: &'static str,
}

impl Rows {
    /// `empty` is said to people when there is nothing to show.
    pub fn new(headers: &'static [&'static str], empty: &'static str) -> Self {
        Self { headers, lines: Vec::new(), empty }
    }

    pub fn push(&mut self, id: impl Into<String>, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.headers.len(), "a row has a cell for each header");
        self.lines.push((id.into(), cells));
    }
}

impl Output {
    pub fn new(json: bool, quiet: bool) -> Self {
        let format = match (json, quiet) {
            (true, _) => Format::Json,
            (_, true) => Format::Quiet,
            _ if std::io::stdout().is_terminal() => Format::Table,
            _ => Format::Plain,
        };
        Self { format }
    }

    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    pub fn is_quiet(self) -> bool {
        self.format == Format::Quiet
    }

    /// A list: `value` is what `--json` prints.
    pub fn list(self, rows: &Rows, value: &impl Serialize) {
        match self.format {
            Format::Json => json(value),
            _ if rows.lines.is_empty() && self.format == Format::Table => remark(rows.empty),
            _ => print(&render(rows, self.format, terminal_width())),
        }
    }

    /// One thing that was made or changed: a sentence for people, its id for `-q`.
    pub fn done(self, id: &str, sentence: &str, value: &impl Serialize) {
        match self.format {
            Format::Json => json(value),
            Format::Quiet => print(&format!("{id}\n")),
            Format::Table | Format::Plain => print(&format!("{sentence}\n")),
        }
    }

    /// Name and value pairs of one thing.
    pub fn details(self, id: &str, pairs: &[(&str, String)], value: &impl Serialize) {
        match self.format {
            Format::Json => json(value),
            Format::Quiet => print(&format!("{id}\n")),
            Format::Table => {
                let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
                print(&text_of(pairs.iter().map(|(name, value)| format!("{name:width$}  {value}"))));
            }
            Format::Plain => print(&text_of(pairs.iter().map(|(name, value)| format!("{name}\t{value}")))),
        }
    }

    /// One line of a stream; one JSON object per line with `--json`.
    pub fn line(self, text: &str, value: &impl Serialize) {
        match self.format {
            Format::Json => print(&format!("{}\n", serde_json::to_string(value).unwrap_or_default())),
            _ => print(&format!("{text}\n")),
        }
    }
}

/// One JSON document.
fn json(value: &impl Serialize) {
    print(&format!("{}\n", serde_json::to_string_pretty(value).unwrap_or_default()));
}

/// A remark for people, on stderr.
pub fn remark(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Writes to stdout; a reader that went away (`| head`) ends the program without noise.
pub fn print(text: &str) {
    raw(text.as_bytes());
}

/// Writes bytes to stdout as they are (container output has colours and encodings of its own).
pub fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
        std::process::exit(i32::from(error.kind() != ErrorKind::BrokenPipe));
    }
}

/// Whether people watch progress on this terminal.
pub fn progress_is_live() -> bool {
    std::io::stderr().is_terminal()
}

/// Prints `error: …` on stderr, in red where colour is wanted.
pub fn error(text: &str) {
    let style = clap::builder::styling::AnsiColor::Red.on_default().bold();
    let _ = writeln!(AutoStream::auto(std::io::stderr()), "{style}error:{style:#} {text}");
}

fn terminal_width() -> u16 {
    comfy_table::Table::new().width().unwrap_or(WIDTH_DEFAULT)
}

/// The text of a list in `format`. Pure.
fn render(rows: &Rows, format: Format, width: u16) -> String {
    match format {
        Format::Quiet => text_of(rows.lines.iter().map(|(id, _)| id.clone())),
        Format::Plain => text_of(rows.lines.iter().map(|(_, cells)| cells.iter().map(|c| one_line(c)).collect::<Vec<_>>().join("\t"))),
        Format::Table | Format::Json => {
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            table.set_header(rows.headers.to_vec());
            for (_, cells) in &rows.lines {
                table.add_row(cells.iter().map(String::as_str).collect::<Vec<_>>());
            }
            text_of(table.lines().map(|line| line.trim_end().strip_prefix(' ').unwrap_or(line.trim_end()).to_owned()))
        }
    }
}

/// Lines, each with its end.
fn text_of(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

/// The text with line breaks and tabs replaced, so that one row stays one line.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let mut rows = Rows::new(&["NAME", "STATUS"], "no services");
        rows.push("id-1", vec!["web".into(), "ACTIVE".into()]);
        rows.push("id-2", vec!["a\tb\nc".into(), "-".into()]);
        rows
    }

    #[test]
    fn a_pipe_gets_one_line_per_row_without_headers() {
        assert_eq!(render(&rows(), Format::Plain, 80), "web\tACTIVE\na b c\t-\n");
    }

    #[test]
    fn quiet_prints_ids_only() {
        assert_eq!(render(&rows(), Format::Quiet, 80), "id-1\nid-2\n");
    }

    #[test]
    fn a_terminal_gets_a_table_with_headers() {
        let text = render(&rows(), Format::Table, 80);
        let first: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(first, ["NAME", "STATUS"]);
        assert!(text.lines().nth(1).unwrap().starts_with("web"), "{text}");
    }
}
