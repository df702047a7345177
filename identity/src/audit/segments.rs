//! Segments: files of lines in the order of time, `<first time in microseconds>.jsonl`; which of them go, and finding lines in them.
//!
//! Only ever appended to, by one process. A crash may leave the last line of a segment cut off; readers pass over it, and the next
//! start begins a new file. Everything here blocks.

use super::Line;
use model::Timestamp;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXTENSION: &str = "jsonl";
/// Bytes read at once when going back, and when looking for a time.
const BLOCK_BYTES: u64 = 64 * 1024;
const LOOK_BYTES: usize = 4096;

/// A segment as the folder lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// No record in it is earlier.
    pub start: Timestamp,
    pub path: PathBuf,
    pub bytes: u64,
}

/// Which lines are wanted, and how much is read for them.
pub(crate) struct Wanted<'a> {
    /// Found in the text of every wanted line, so that others need not be parsed.
    pub needles: Vec<Vec<u8>>,
    pub matches: &'a dyn Fn(&Line) -> bool,
    pub lines_max: usize,
    pub bytes_max: u64,
}

/// Lines in the order they were met; when not everything was looked at for them, up to where.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub lines: Vec<Line>,
    pub stopped_at: Option<Timestamp>,
}

pub(crate) fn path_of(folder: &Path, start: Timestamp) -> PathBuf {
    folder.join(format!("{:020}.{EXTENSION}", start.0))
}

/// By time. Other files are none of ours.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let start = path.file_stem().and_then(|name| name.to_str()?.parse().ok());
        if let Some(start) = start.filter(|_| path.extension().is_some_and(|extension| extension == EXTENSION)) {
            list.push(Segment { start: Timestamp(start), bytes: entry.metadata()?.len(), path });
        }
    }
    list.sort_by_key(|segment| segment.start);
    Ok(list)
}

/// How many of the oldest `segments` go. The newest, which is written to, always stays. Pure.
pub(crate) fn too_many(segments: &[Segment], now: Timestamp, keep: Option<Duration>, bytes_max: u64) -> usize {
    let oldest = keep.map(|keep| now.minus(keep));
    let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut gone = 0;
    for pair in segments.windows(2) {
        // All of a segment is older than the next one's beginning.
        let old = oldest.is_some_and(|oldest| pair[1].start < oldest);
        if !old && bytes <= bytes_max {
            break;
        }
        bytes -= pair[0].bytes;
        gone += 1;
    }
    gone
}

/// Lines later than `after`, none later than `until`, the oldest first.
pub(crate) fn later(folder: &Path, after: Timestamp, until: Timestamp, wanted: &Wanted<'_>) -> io::Result<Found> {
    let segments = list(folder)?;
    let first = segments.partition_point(|segment| segment.start <= after).saturating_sub(1);
    let (mut found, mut budget) = (Found::default(), wanted.bytes_max);
    for segment in segments[first..].iter().take_while(|segment| segment.start <= until) {
        let mut file = File::open(&segment.path)?;
        let from = first_not(&file, segment.bytes, |at| at <= after)?;
        file.seek(SeekFrom::Start(from))?;
        let mut lines = BufReader::new(io::Read::take(file, segment.bytes - from));
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            budget = budget.saturating_sub(line.len() as u64);
            match Line::time_of(&line) {
                Some(at) if at > until => return Ok(found),
                Some(at) if !wanted.take(&line, at, budget, &mut found) => return Ok(found),
                _ => line.clear(),
            }
        }
    }
    Ok(found)
}

/// Lines earlier than `before`, none earlier than `since`, the newest first.
pub(crate) fn earlier(folder: &Path, before: Timestamp, since: Timestamp, wanted: &Wanted<'_>) -> io::Result<Found> {
    let (mut found, mut budget) = (Found::default(), wanted.bytes_max);
    for segment in list(folder)?.iter().rev().filter(|segment| segment.start < before) {
        let file = File::open(&segment.path)?;
        let mut end = first_not(&file, segment.bytes, |at| at < before)?;
        let mut tail = Vec::new();
        while end > 0 {
            let start = end.saturating_sub(BLOCK_BYTES);
            let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
            file.read_exact_at(&mut block, start)?;
            block.append(&mut tail);
            // The line that begins before the block is looked at with the next one.
            let whole = if start == 0 { 0 } else { block.iter().position(|byte| *byte == b'\n').map_or(block.len(), |at| at + 1) };
            for line in block[whole..].split_inclusive(|byte| *byte == b'\n').rev() {
                budget = budget.saturating_sub(line.len() as u64);
                match Line::time_of(line) {
                    Some(at) if at < since => return Ok(found),
                    Some(at) if !wanted.take(line, at, budget, &mut found) => return Ok(found),
                    _ => {}
                }
            }
            block.truncate(whole);
            (tail, end) = (block, start);
        }
        if segment.start < since {
            break;
        }
    }
    Ok(found)
}

impl Wanted<'_> {
    /// Looks at one line. False when that was the last one to look at.
    fn take(&self, line: &[u8], at: Timestamp, budget: u64, found: &mut Found) -> bool {
        if self.needles.iter().all(|needle| contains(line, needle)) {
            found.lines.extend(Line::parse(line).filter(|line| (self.matches)(line)));
        }
        if found.lines.len() >= self.lines_max {
            return false;
        }
        if budget == 0 {
            found.stopped_at = Some(at);
        }
        budget > 0
    }
}

fn contains(line: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || line.windows(needle.len()).any(|window| window == needle)
}

/// Where the first line begins for whose time `holds` does not; it holds for all lines up to some time and for none after.
fn first_not(file: &File, bytes: u64, holds: impl Fn(Timestamp) -> bool) -> io::Result<u64> {
    let (mut low, mut high) = (0, bytes);
    while low < high {
        let middle = low + (high - low) / 2;
        match line_from(file, middle, low, bytes)? {
            // A line without a time was cut off, and says nothing.
            Some((start, end, at)) if start < high && at.is_none_or(&holds) => low = end,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The first line that begins at `from` or later: beginning, end and time. `floor` is known to be where a line begins.
fn line_from(file: &File, from: u64, floor: u64, bytes: u64) -> io::Result<Option<(u64, u64, Option<Timestamp>)>> {
    // A line begins at `from` when the byte before it ends one.
    let start = if from == floor { Some(floor) } else { next_end(file, from - 1, bytes)? };
    let Some(start) = start.filter(|start| *start < bytes) else { return Ok(None) };
    let end = next_end(file, start, bytes)?.unwrap_or(bytes);
    let mut line = vec![0; usize::try_from((end - start).min(64)).unwrap_or(64)];
    file.read_exact_at(&mut line, start)?;
    Ok(Some((start, end, Line::time_of(&line))))
}

/// Behind the first line break at `from` or later.
fn next_end(file: &File, mut from: u64, bytes: u64) -> io::Result<Option<u64>> {
    let mut block = [0; LOOK_BYTES];
    while from < bytes {
        let wanted = usize::try_from(bytes - from).unwrap_or(LOOK_BYTES).min(LOOK_BYTES);
        file.read_exact_at(&mut block[..wanted], from)?;
        if let Some(at) = block[..wanted].iter().position(|byte| *byte == b'\n') {
            return Ok(Some(from + at as u64 + 1));
        }
        from += wanted as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, start: i64, times: impl IntoIterator<Item = i64>, cut: usize) {
        let mut text = Vec::new();
        for at in times {
            let target = format!("repository:{}", "x".repeat(usize::try_from(at % 97).unwrap()));
            Line { target, principal: Some(format!("user:u{}", at % 3)), ..Line::lost(Timestamp(at), 1) }.write(&mut text);
        }
        text.truncate(text.len() - cut);
        std::fs::write(path_of(folder, Timestamp(start)), text).unwrap();
    }

    /// Times 100 to 2099 in three segments, of which the second lost its last line.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 100, 100..700, 0);
        write(folder.path(), 700, 700..1500, 4);
        write(folder.path(), 1500, 1500..2100, 0);
        std::fs::write(folder.path().join("position"), "x").unwrap();
        folder
    }

    fn times(found: &Found) -> Vec<i64> {
        found.lines.iter().map(|line| line.at.0).collect()
    }

    fn wanted(lines_max: usize, bytes_max: u64) -> Wanted<'static> {
        Wanted { needles: Vec::new(), matches: &|_| true, lines_max, bytes_max }
    }

    #[test]
    fn lines_are_found_from_any_time_in_both_directions() {
        let folder = folder();
        let all: Vec<i64> = (100..2100).filter(|at| *at != 1499).collect();
        for bound in (90..2110).step_by(7) {
            let after = later(folder.path(), Timestamp(bound), Timestamp(2000), &wanted(10_000, u64::MAX)).unwrap();
            let expected: Vec<_> = all.iter().copied().filter(|at| *at > bound && *at <= 2000).collect();
            assert_eq!(times(&after), expected, "after {bound}");
            let before = earlier(folder.path(), Timestamp(bound), Timestamp(200), &wanted(10_000, u64::MAX)).unwrap();
            let expected: Vec<_> = all.iter().copied().rev().filter(|at| *at < bound && *at >= 200).collect();
            assert_eq!(times(&before), expected, "before {bound}");
        }
    }

    #[test]
    fn a_search_stops_at_its_limits_and_says_where() {
        let folder = folder();
        let found = later(folder.path(), Timestamp(650), Timestamp(i64::MAX), &wanted(100, u64::MAX)).unwrap();
        assert_eq!((times(&found).len(), found.stopped_at), (100, None));
        let matches = |line: &Line| line.principal.as_deref() == Some("user:u1") && line.at.0 > 1900;
        let rare = |bytes_max| Wanted { needles: vec![b"\"user:u1\"".to_vec()], matches: &matches, lines_max: 5, bytes_max };
        let (mut at, mut got, mut rounds) = (Timestamp(0), Vec::new(), 0);
        loop {
            let found = later(folder.path(), at, Timestamp(i64::MAX), &rare(20_000)).unwrap();
            got.extend(times(&found));
            rounds += 1;
            match found.stopped_at.or(found.lines.last().map(|line| line.at)) {
                Some(next) => at = next,
                None => break,
            }
        }
        assert_eq!(got, (1901..2100).filter(|at| at % 3 == 1).collect::<Vec<_>>());
        assert!(rounds > 10, "{rounds} rounds");
        let back = earlier(folder.path(), Timestamp(1800), Timestamp(0), &rare(20_000)).unwrap();
        assert!(back.lines.is_empty() && back.stopped_at.is_some_and(|at| at.0 > 1500 && at.0 < 1800), "{back:?}");
    }

    #[test]
    fn the_oldest_segments_go_by_age_and_by_size() {
        let segment = |start, bytes| Segment { start: Timestamp::from_secs(start), path: PathBuf::new(), bytes };
        let list = [segment(0, 10), segment(100, 10), segment(200, 10), segment(300, 10)];
        let gone = |keep: Option<u64>, bytes_max| too_many(&list, Timestamp::from_secs(400), keep.map(Duration::from_secs), bytes_max);
        assert_eq!(gone(None, 100), 0);
        assert_eq!(gone(Some(250), 100), 1, "the second holds records of up to 200");
        assert_eq!(gone(Some(0), 100), 3, "the one that is written to stays");
        assert_eq!(gone(None, 25), 2);
        assert_eq!(gone(None, 0), 3);
        assert_eq!(too_many(&[], Timestamp::from_secs(400), Some(Duration::ZERO), 0), 0);
    }
}
