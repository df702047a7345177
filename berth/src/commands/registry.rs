//! `berth registry`: what the registry stores and nobody needs.

use crate::duration;
use crate::failure::Result;
use crate::output::{self, Rows};
use crate::session::Session;
use api::v1::garbage::{GarbageCollected, GarbageItem, GarbagePlan};
use clap::{Args, Subcommand};
use model::Timestamp;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Free the space of what nothing refers to; pushes and pulls go on meanwhile
    #[command(after_help = "\
Examples:
  berth registry gc --dry-run       what would go, and why
  berth registry gc                 now; the server does it by itself every few minutes

A manifest goes when no tag, no index and no subject has needed it for as long as `berth server --untagged-secs` says, and a blob when
no manifest has named it for as long as --gc-grace-secs says. What a live task definition or a service runs is pinned and stays.")]
    Gc(GcArgs),
}

#[derive(Debug, Args)]
pub struct GcArgs {
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
}

pub async fn run(session: &Session, command: RegistryCommand) -> Result<()> {
    let RegistryCommand::Gc(args) = command;
    if args.dry_run { plan(session).await } else { collect(session).await }
}

async fn plan(session: &Session) -> Result<()> {
    let plan: GarbagePlan = session.v1.get("/api/v1/registry/garbage", &()).await?;
    let mut rows = Rows::new(&["KIND", "REPOSITORY", "DIGEST", "FREES", "WHY", "SINCE"], "nothing is due");
    for item in &plan.items {
        rows.push(&item.digest, cells(item, session.now()));
    }
    session.out.list(&rows, &plan);
    if !session.out.is_json() && !session.out.is_quiet() {
        for line in summary(&plan) {
            output::remark(&line);
        }
    }
    Ok(())
}

fn cells(item: &GarbageItem, now: Timestamp) -> Vec<String> {
    let since = Timestamp::parse_rfc3339(&item.since).map_or_else(|| item.since.clone(), |since| duration::ago(since, now));
    let why = if item.goes { item.reason.clone() } else { format!("stays: {}", item.reason) };
    vec![item.kind.clone(), item.repository.clone().unwrap_or_else(|| "-".into()), item.digest.clone(), bytes(item.bytes), why, since]
}

/// What people are told below the list.
fn summary(plan: &GarbagePlan) -> Vec<String> {
    let mut lines = vec![format!("{} would be freed now{}", bytes(plan.bytes), if plan.more { ", and more than is listed" } else { "" })];
    let grace = duration::format(Duration::from_secs(plan.grace_secs));
    if plan.bytes_later > 0 {
        lines.push(format!("{} more {grace} after that, of manifests that go now", bytes(plan.bytes_later)));
    }
    if plan.waiting_blobs > 0 {
        lines.push(format!(
            "{} blobs of {} are named by no manifest, and stay until {grace} after they were pushed, asked for or let go",
            plan.waiting_blobs,
            bytes(plan.waiting_blob_bytes)
        ));
    }
    if plan.waiting_manifests > 0 {
        let life = plan.untagged_secs.map(|secs| duration::format(Duration::from_secs(secs)));
        let until = life.map_or_else(|| "for good".to_owned(), |life| format!("until they have been so for {life}"));
        lines.push(format!("{} manifests are untagged, and stay {until}", plan.waiting_manifests));
    }
    lines
}

async fn collect(session: &Session) -> Result<()> {
    session.announce();
    let done: GarbageCollected = session.v1.post("/api/v1/registry/garbage/collect", &serde_json::json!({})).await?;
    let pinned = if done.pinned > 0 { format!("; {} due ones are pinned and stay", done.pinned) } else { String::new() };
    let more = if done.more { "; more is due, and the server goes on" } else { "" };
    let sentence =
        format!("freed {}: {} manifests, {} blobs, {} files{pinned}{more}", bytes(done.bytes), done.manifests, done.blobs, done.files);
    session.out.done(&done.bytes.to_string(), &sentence, &done);
    Ok(())
}

/// A number of bytes as people read it.
fn bytes(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_by_people() {
        for (number, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn the_summary_says_what_waits_and_for_how_long() {
        let plan = GarbagePlan {
            grace_secs: 43_200,
            untagged_secs: None,
            items: Vec::new(),
            more: false,
            bytes: 1 << 20,
            bytes_later: 2048,
            files: 0,
            waiting_blobs: 2,
            waiting_blob_bytes: 10,
            waiting_manifests: 3,
        };
        let said = summary(&plan).join("\n");
        for part in
            ["1.0 MiB would be freed now", "2.0 KiB more 12h after that", "2 blobs of 10 B", "3 manifests are untagged, and stay for good"]
        {
            assert!(said.contains(part), "{said}");
        }
    }
}
