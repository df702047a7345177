//! `tags/list`: pages of a repository with many tags, beside pages of one with few, and beside docker-registry. The time is the round
//! trip of a client on a kept connection, which is more than what the server takes.

use crate::connection::{Body, Connection};
use crate::lanes::{get, manifests};
use crate::options::{LaneOptions, Side};
use crate::report::{Measured, median};
use crate::score::{self, Bound, Row};
use crate::sides::PairOptions;
use anyhow::{Context, Result, ensure};
use clap::Args;
use rand::seq::SliceRandom;
use serde_json::Value;

/// Entries of a page.
const PAGE: usize = 100;
/// Tags of the repository that the other is compared with.
const FEW: usize = 200;
/// Pages asked for in a round: of ours, and of a registry that may list everything each time.
const PAGES_OURS: usize = 200;
const PAGES_THEIRS: usize = 10;
const PAGE_MS_MAX: f64 = 1.0;
/// How much more a page of a large repository may cost before it counts as costing by the repository.
const GROWTH_MAX: f64 = 1.3;

#[derive(Debug, Args)]
pub struct ListOptions {
    #[command(flatten)]
    pair: PairOptions,
    /// Tags of the large repository
    #[arg(long, default_value_t = 10_000)]
    tags: usize,
    /// Rounds of each page
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Divides the number of tags, for a quick look
    #[arg(long, default_value_t = 1)]
    divide: usize,
}

/// A page of one repository, and after which tag it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Page {
    name: &'static str,
    after: Option<String>,
}

/// Milliseconds of the rounds of one page, each the median of that round.
#[derive(Default)]
struct Times {
    many: Vec<f64>,
    few: Vec<f64>,
    theirs: Vec<f64>,
}

pub fn run(options: &ListOptions) -> Result<bool> {
    let count = (options.tags / options.divide.max(1)).max(2 * FEW);
    let [ours, theirs] = options.pair.both("bench/many");
    let few = ours.at("bench/few");
    for (side, tags) in [(&ours, count), (&few, FEW), (&theirs, count)] {
        eprintln!("putting {tags} tags on {}", side.label);
        manifests::seed_tags(side, &LaneOptions { count: tags, parallel: 8, ..LaneOptions::default() })?;
    }
    let (pages, pages_of_few) = (pages(count), pages(FEW));
    let mut times: Vec<Times> = pages.iter().map(|_| Times::default()).collect();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        let mut order: Vec<(usize, usize)> = (0..pages.len()).flat_map(|page| [(page, 0), (page, 1), (page, 2)]).collect();
        order.shuffle(&mut rand::rng());
        for (page, which) in order {
            let into = &mut times[page];
            match which {
                0 => into.many.push(median_of(&ours, &pages[page], PAGES_OURS, true)?),
                1 => into.few.push(median_of(&few, &pages_of_few[page], PAGES_OURS, true)?),
                // docker-registry 2.8 knows no pages: what it sends is what a client of it gets.
                _ => into.theirs.push(median_of(&theirs, &pages[page], PAGES_THEIRS, false)?),
            }
        }
    }
    let rows: Vec<Row> = pages.iter().zip(&times).flat_map(|(page, times)| rows(count, page, times, &options.pair.theirs_name)).collect();
    Ok(score::print("tags/list", &rows))
}

fn rows(count: usize, page: &Page, times: &Times, theirs: &str) -> [Row; 2] {
    let work = format!("{PAGE} of {count} tags, {} page", page.name);
    [
        Row::pairs(work.clone(), "ms", &times.many, (theirs, &times.theirs)).target(Bound::AtMost(PAGE_MS_MAX)),
        Row::pairs(work, "ms", &times.many, (&format!("ours, {FEW} tags"), &times.few)).target(Bound::TimesAtMost(GROWTH_MAX)),
    ]
}

/// The first page, one in the middle and the last, of the tags t0, t1, … in byte order.
fn pages(count: usize) -> [Page; 3] {
    let mut names: Vec<String> = (0..count).map(|tag| format!("t{tag}")).collect();
    names.sort_unstable();
    let before = |first: usize| first.checked_sub(1).map(|last| names[last].clone());
    [
        Page { name: "first", after: None },
        Page { name: "middle", after: before(count / 2) },
        Page { name: "last", after: before(count.saturating_sub(PAGE)) },
    ]
}

fn median_of(side: &Side, page: &Page, count: usize, is_paged: bool) -> Result<f64> {
    let after = page.after.as_ref().map(|tag| format!("&last={tag}")).unwrap_or_default();
    let options = LaneOptions { path: format!("/v2/{}/tags/list?n={PAGE}{after}", side.repository), count, ..LaneOptions::default() };
    if is_paged {
        let answer = Connection::open(side, &options)?.request("GET", &options.path, "", b"", Body::Keep)?.expect(200)?;
        let listed: Value = serde_json::from_slice(&answer.body)?;
        let length = listed["tags"].as_array().context("tags")?.len();
        ensure!(length == PAGE, "{}: {length} tags in a page", options.path);
    }
    let Measured { latencies_ms, .. } = get::run(side, &options)?;
    Ok(median(&latencies_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_begin_after_a_tag_in_byte_order() {
        let [first, middle, last] = pages(300);
        assert_eq!(first.after, None);
        let mut names: Vec<String> = (0..300).map(|tag| format!("t{tag}")).collect();
        names.sort_unstable();
        let rest = |page: Page| names.iter().filter(|name| Some(name.as_str()) > page.after.as_deref()).count();
        assert_eq!((rest(middle), rest(last)), (150, PAGE));
    }
}
