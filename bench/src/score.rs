//! The table that the parts of the benchmark print: what was measured, what a peer did beside it, and what is wanted of it. Pure, up to
//! the printing.

use crate::report::median;
use comfy_table::{Table, presets};
use std::fmt;

/// A number to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Of ours divided by theirs.
    TimesAtLeast(f64),
    TimesAtMost(f64),
    /// Of ours, in the unit of its row.
    AtMost(f64),
}

/// One line of the table.
#[derive(Debug, Clone, Default)]
pub struct Row {
    work: String,
    unit: &'static str,
    ours: f64,
    beside: Option<Beside>,
    promised: Option<Bound>,
    target: Option<Bound>,
}

/// What ours is compared with.
#[derive(Debug, Clone)]
struct Beside {
    name: String,
    value: f64,
    ratio: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing was said about it.
    Free,
    Kept,
    /// What is promised is kept, what is wanted is not.
    Short,
    Missed,
}

impl Row {
    /// A number of ours that stands for itself.
    pub fn alone(work: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self { work: work.into(), unit, ours, ..Self::default() }
    }

    /// Medians of both sides, and the median of the pairs' ratios: what was measured together is compared with each other.
    pub fn pairs(work: impl Into<String>, unit: &'static str, ours: &[f64], (name, theirs): (&str, &[f64])) -> Self {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let beside = Beside { name: name.to_owned(), value: median(theirs), ratio: median(&ratios) };
        Self { beside: Some(beside), ..Self::alone(work, unit, median(ours)) }
    }

    /// What counts as broken when it is not kept.
    #[must_use]
    pub fn promised(self, bound: Option<Bound>) -> Self {
        Self { promised: bound, ..self }
    }

    /// What is wanted.
    #[must_use]
    pub fn target(self, bound: impl Into<Option<Bound>>) -> Self {
        Self { target: bound.into(), ..self }
    }

    fn keeps(&self, bound: Option<Bound>) -> bool {
        let ratio = self.beside.as_ref().map_or(f64::NAN, |beside| beside.ratio);
        // Written so that no number at all keeps nothing.
        match bound {
            None => true,
            Some(Bound::TimesAtLeast(least)) => ratio >= least,
            Some(Bound::TimesAtMost(most)) => ratio <= most,
            Some(Bound::AtMost(most)) => self.ours <= most,
        }
    }

    fn verdict(&self) -> Verdict {
        match (self.promised, self.target) {
            (None, None) => Verdict::Free,
            (promised, _) if !self.keeps(promised) => Verdict::Missed,
            (_, target) if self.keeps(target) => Verdict::Kept,
            (Some(_), _) => Verdict::Short,
            (None, _) => Verdict::Missed,
        }
    }

    /// Its work, and who it is measured by where that matters.
    fn name(&self) -> String {
        match (&self.beside, self.promised.or(self.target)) {
            (Some(beside), Some(Bound::TimesAtLeast(_) | Bound::TimesAtMost(_))) => format!("{} (beside {})", self.work, beside.name),
            _ => self.work.clone(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let (name, value, ratio) = match &self.beside {
            Some(beside) => (beside.name.clone(), short(beside.value), format!("{:.2} x", beside.ratio)),
            None => Default::default(),
        };
        let bound = |bound: Option<Bound>| bound.map(|bound| bound.to_string()).unwrap_or_default();
        let verdict = self.verdict().to_string();
        let work = self.work.clone();
        vec![work, self.unit.to_owned(), short(self.ours), name, value, ratio, bound(self.promised), bound(self.target), verdict]
    }
}

/// Prints the table, and by name what is not kept. True when all is.
pub fn print(title: &str, rows: &[Row]) -> bool {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([title, "unit", "ours", "beside", "theirs", "ratio", "promised", "target", ""]);
    for row in rows {
        table.add_row(row.cells());
    }
    println!("{table}");
    let named = |verdict: Verdict| rows.iter().filter(|row| row.verdict() == verdict).map(Row::name).collect::<Vec<_>>().join("; ");
    let (short, missed) = (named(Verdict::Short), named(Verdict::Missed));
    if !short.is_empty() {
        println!("as promised, but short of the target: {short}");
    }
    if !missed.is_empty() {
        println!("MISSED: {missed}");
    }
    short.is_empty() && missed.is_empty()
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimesAtLeast(least) => write!(f, ">= {least} x"),
            Self::TimesAtMost(most) => write!(f, "<= {most} x"),
            Self::AtMost(most) => write!(f, "<= {most}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "",
            Self::Kept => "ok",
            Self::Short => "short",
            Self::Missed => "MISSED",
        })
    }
}

/// Three digits or so: what is measured here is not known better.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ratio: f64) -> Row {
        Row::pairs("work", "MB/s", &[ratio * 10.0], ("peer", &[10.0]))
    }

    #[test]
    fn the_ratio_is_that_of_the_pairs() {
        let row = Row::pairs("work", "MB/s", &[10.0, 40.0, 30.0], ("peer", &[5.0, 10.0, 10.0]));
        let beside = row.beside.unwrap();
        assert_eq!((row.ours, beside.value, beside.ratio), (30.0, 10.0, 3.0));
    }

    #[test]
    fn what_is_promised_is_told_from_what_is_wanted() {
        let (promised, target) = (Some(Bound::TimesAtLeast(2.5)), Bound::TimesAtLeast(2.7));
        let verdict = |ratio| times(ratio).promised(promised).target(target).verdict();
        assert_eq!([verdict(2.8), verdict(2.6), verdict(2.4)], [Verdict::Kept, Verdict::Short, Verdict::Missed]);
        assert_eq!(times(1.0).verdict(), Verdict::Free);
        assert_eq!(times(2.4).promised(promised).verdict(), Verdict::Missed);
        assert_eq!(times(2.5).promised(promised).verdict(), Verdict::Kept);
    }

    #[test]
    fn a_target_alone_is_kept_or_missed() {
        for (row, bound, expected) in [
            (times(0.7), Bound::TimesAtMost(0.7), Verdict::Kept),
            (times(0.71), Bound::TimesAtMost(0.7), Verdict::Missed),
            (Row::alone("idle", "MB", 20.0), Bound::AtMost(20.0), Verdict::Kept),
            (Row::alone("idle", "MB", 20.1), Bound::AtMost(20.0), Verdict::Missed),
            // Nothing stands beside it: there is no ratio to keep.
            (Row::alone("idle", "MB", 1.0), Bound::TimesAtMost(2.0), Verdict::Missed),
            (Row::alone("idle", "MB", f64::NAN), Bound::AtMost(20.0), Verdict::Missed),
            (Row::pairs("work", "ms", &[], ("peer", &[])), Bound::TimesAtLeast(1.0), Verdict::Missed),
        ] {
            assert_eq!(row.clone().target(bound).verdict(), expected, "{row:?} {bound}");
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([short(1234.5), short(12.34), short(0.126)], ["1234", "12.3", "0.13"].map(str::to_owned));
    }
}
