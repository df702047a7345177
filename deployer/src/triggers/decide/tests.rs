//! Tables of what becomes of pushes, and properties over random storms.

use super::*;
use crate::triggers::filter;
use model::trigger::{Hold, TagRule};
use proptest::prelude::*;
use std::collections::BTreeSet;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn digest(content: u8) -> Digest {
    format!("sha256:{}", format!("{content:02x}").repeat(32)).parse().unwrap()
}

fn push(sequence: i64, tag: &str, content: u8) -> Push {
    Push {
        sequence,
        repository: "acme/web".parse().unwrap(),
        tag: tag.parse().unwrap(),
        digest: digest(content),
        principal: "robot:ci".parse().unwrap(),
        scope: None,
        at: NOW,
    }
}

/// A push by somebody who may deploy.
fn may(sequence: i64, tag: &str, content: u8) -> Candidate {
    Candidate { push: push(sequence, tag, content), missing: None }
}

/// A push by somebody who may not.
fn may_not(sequence: i64, tag: &str, content: u8) -> Candidate {
    Candidate { push: push(sequence, tag, content), missing: Some("no deploy".into()) }
}

fn trigger(id: &str, container: &str, tag: &str) -> Trigger {
    Trigger {
        id: id.into(),
        service_id: "s-1".into(),
        cluster: "default".parse().unwrap(),
        service: "web".parse().unwrap(),
        container: container.into(),
        repository: "acme/web".parse().unwrap(),
        tag: filter::rule(tag, None),
        exclude: vec![TagRule { kind: TagKind::Glob, pattern: "*-rc*".into() }],
        held: None,
        created_by: "user:admin".parse().unwrap(),
        created_at: NOW,
        after_push: 0,
    }
}

fn of(tag: &str, open: Vec<Candidate>) -> TriggerView {
    TriggerView { trigger: trigger("t-1", "app", tag), open, waiting: Vec::new() }
}

/// A service whose `app` runs `content` under `tag`.
fn view(tag: &str, content: u8, triggers: Vec<TriggerView>) -> View {
    let running =
        |content| Running { repository: Some("acme/web".into()), digest: Some(digest(content)), tags: tag.parse().into_iter().collect() };
    let running = BTreeMap::from([("app".to_owned(), running(content)), ("other".to_owned(), running(99))]);
    View { running, failed: false, last_at: None, triggers }
}

/// `10 take, 9 superseded by 10`: in the order of pushes, of all triggers.
fn said(outcome: &Outcome) -> String {
    let mut decisions = outcome.decisions.clone();
    decisions.sort_by_key(|decision| (decision.push, decision.trigger.clone()));
    let word = |decision: &Decision| match &decision.verdict {
        Verdict::Take => format!("{} take", decision.push),
        Verdict::Runs => format!("{} runs", decision.push),
        Verdict::NoMatch(_) => format!("{} no", decision.push),
        Verdict::Skip(_) => format!("{} skip", decision.push),
        Verdict::Wait(_) => format!("{} wait", decision.push),
        Verdict::Hold(_) => format!("{} hold", decision.push),
        Verdict::Supersede { by } => format!("{}<{by}", decision.push),
    };
    decisions.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(view: &View, expected: &str) {
    assert_eq!(said(&decide(view, NOW)), expected);
}

#[test]
fn the_newest_push_that_matches_is_taken_and_the_others_are_superseded() {
    check(&view("v0", 0, vec![of("v*", vec![may(1, "v1", 1), may(2, "v2", 2), may(3, "v3", 3)])]), "1<3, 2<3, 3 take");
    check(&view("v0", 0, vec![of("v*", vec![may(1, "v1", 1), may(2, "main", 2), may(3, "v3-rc1", 3)])]), "1 take, 2 no, 3 no");
    check(&view("v0", 0, vec![of("v*", vec![])]), "");
}

#[test]
fn what_runs_is_not_deployed_again_unless_it_failed() {
    let mut service = view("v1", 1, vec![of("v*", vec![may(1, "v1", 1)])]);
    check(&service, "1 runs");
    service.failed = true;
    check(&service, "1 take");
    check(&view("v1", 1, vec![of("v*", vec![may(1, "v2", 2), may(2, "v3", 1)])]), "1<2, 2 runs");
    check(&view("v1", 1, vec![of("v*", vec![may(1, "v2", 2), may(2, "v1", 2), may(3, "v9", 2)])]), "1<3, 2<3, 3 take");
}

#[test]
fn a_range_of_versions_takes_the_highest_and_never_goes_down() {
    let pushes = || vec![may(1, "v1.3.0", 3), may(2, "v1.2.0", 2), may(3, "v2.0.0", 4), may(4, "latest", 5)];
    check(&view("v1.1.0", 1, vec![of("^1", pushes())]), "1 take, 2<1, 3 no, 4 no");
    check(&view("v1.2.5", 1, vec![of("^1", pushes())]), "1 take, 2 skip, 3 no, 4 no");
    check(&view("v1.4.0", 1, vec![of("^1", pushes())]), "1 skip, 2 skip, 3 no, 4 no");
    // The same version again is another push of it.
    check(&view("v1.3.0", 1, vec![of("^1", vec![may(1, "v1.3.0", 2), may(2, "1.3.0", 3)])]), "1<2, 2 take");
    // What runs is no version, or of another repository: there is nothing to go down from.
    check(&view("latest", 1, vec![of("^1", vec![may(1, "v1.0.0", 2)])]), "1 take");
    let mut service = view("v9.0.0", 1, vec![of("^1", vec![may(1, "v1.0.0", 2)])]);
    service.running.get_mut("app").unwrap().repository = Some("acme/old".into());
    check(&service, "1 take");
}

#[test]
fn who_may_not_deploy_waits() {
    check(&view("v0", 0, vec![of("v*", vec![may_not(1, "v1", 1), may_not(2, "v2", 2)])]), "1<2, 2 wait");
    check(&view("v0", 0, vec![of("v*", vec![may_not(1, "v1", 1), may(2, "v2", 2)])]), "1<2, 2 take");
    check(&view("v0", 0, vec![of("v*", vec![may(1, "v1", 1), may_not(2, "v2", 2), may_not(3, "v3", 3)])]), "1 take, 2<3, 3 wait");
    check(&view("v1", 1, vec![of("v*", vec![may_not(1, "v1", 1)])]), "1 runs");
    check(&view("v0", 0, vec![of("v*", vec![may(1, "v1", 1), may_not(2, "v2", 1)])]), "1 take, 2 runs");
    check(&view("v1.0.0", 0, vec![of("^1", vec![may_not(1, "v1.2.0", 1), may(2, "v1.1.0", 2)])]), "1 wait, 2 take");
}

#[test]
fn what_waits_is_superseded_by_what_is_newer() {
    let waiting = |open, waiting: Vec<Push>| TriggerView { waiting, ..of("v*", open) };
    check(&view("v0", 0, vec![waiting(vec![may(2, "v2", 2)], vec![push(1, "v1", 1)])]), "1<2, 2 take");
    check(&view("v0", 0, vec![waiting(vec![may_not(2, "v2", 2)], vec![push(1, "v1", 1)])]), "1<2, 2 wait");
    check(&view("v0", 0, vec![waiting(vec![may(2, "main", 2)], vec![push(1, "v1", 1)])]), "2 no");
    let by_version = |open| TriggerView { waiting: vec![push(1, "v1.5.0", 1)], ..of("^1", open) };
    check(&view("v1.0.0", 0, vec![by_version(vec![may(2, "v1.2.0", 2)])]), "2 take");
    check(&view("v1.0.0", 0, vec![by_version(vec![may(2, "v1.6.0", 2)])]), "1<2, 2 take");
    // Of another trigger of the same container.
    let mut other = waiting(vec![], vec![push(1, "v1", 1)]);
    other.trigger.id = "t-2".into();
    check(&view("v0", 0, vec![of("v*", vec![may(2, "v2", 2)]), other.clone()]), "1<2, 2 take");
    other.trigger.container = "other".into();
    check(&view("v0", 0, vec![of("v*", vec![may(2, "v2", 2)]), other]), "2 take");
}

#[test]
fn a_held_trigger_holds_what_comes_and_lets_go_what_came_before() {
    let mut held = of("v*", vec![may(4, "v4", 4), may(5, "v5", 5), may_not(6, "v6", 6), may(7, "main", 7)]);
    held.trigger.held = Some(Hold { reason: "rollback".into(), by: "user:admin".parse().unwrap(), at: NOW, push: 4 });
    check(&view("v0", 0, vec![held.clone()]), "4 skip, 5 hold, 6 hold, 7 no");
    // Resumed: of what was held only the newest counts.
    held.trigger.held = None;
    held.open = vec![may(5, "v5", 5), may(6, "v6", 6)];
    check(&view("v0", 0, vec![held]), "5<6, 6 take");
}

#[test]
fn several_triggers_share_a_service() {
    let second = |container: &str, tag: &str, open| TriggerView { trigger: trigger("t-2", container, tag), open, waiting: Vec::new() };
    // Each its container: one deployment takes both.
    let both = view("v0", 0, vec![of("v*", vec![may(1, "v1", 1)]), second("other", "main", vec![may(2, "main", 2)])]);
    check(&both, "1 take, 2 take");
    // The same container: the newest wins.
    let same = |open, others| view("v0", 0, vec![of("v*", open), second("app", "main", others)]);
    check(&same(vec![may(1, "v1", 1)], vec![may(2, "main", 2)]), "1<2, 2 take");
    check(&same(vec![may(3, "v1", 1)], vec![may(2, "main", 2)]), "2<3, 3 take");
    check(&same(vec![may(1, "v1", 1)], vec![may(2, "main", 0)]), "1<2, 2 runs");
    check(&view("v0", 0, vec![of("v*", vec![may(1, "v1", 1)]), second("app", "v1", vec![may(1, "v1", 1)])]), "1 take, 1 skip");
    check(&view("v0", 0, vec![second("gone", "v*", vec![may(1, "v1", 1)])]), "1 skip");
}

#[test]
fn a_deployment_is_of_one_pusher() {
    let mut other = TriggerView { trigger: trigger("t-2", "other", "*"), open: vec![may(1, "a", 1), may(2, "b", 2)], waiting: vec![] };
    for candidate in &mut other.open {
        candidate.push.principal = "user:bob".parse().unwrap();
    }
    let both = view("v0", 0, vec![of("v*", vec![may(3, "v3", 3)]), other]);
    check(&both, "3 take");
    assert_eq!(decide(&both, NOW).again_at, Some(NOW.plus(INTERVAL)));
    check(&after(&both, &decide(&both, NOW)), "1<2, 2 take");
}

#[test]
fn a_second_deployment_waits_out_the_interval_and_the_first_does_not() {
    let mut service = view("v0", 0, vec![of("v*", vec![may(1, "v1", 1), may(2, "x", 2)])]);
    service.last_at = Some(NOW.minus(Duration::from_millis(400)));
    let outcome = decide(&service, NOW);
    assert_eq!(outcome, Outcome { decisions: vec![], again_at: Some(NOW.plus(Duration::from_millis(600))) });
    assert_eq!(said(&decide(&service, NOW.plus(Duration::from_millis(600)))), "1 take, 2 no");
    // What deploys nothing is decided at once.
    service.triggers = vec![of("v*", vec![may(1, "v1", 0), may(2, "x", 2)])];
    check(&service, "1 runs, 2 no");
}

// === properties

fn tag() -> impl Strategy<Value = String> {
    prop_oneof![
        (1u8..4, 0u8..4).prop_map(|(major, minor)| format!("v{major}.{minor}.0")),
        Just("main".to_owned()),
        Just("v1.9.0-rc1".to_owned()),
    ]
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec((tag(), 0u8..6, prop::bool::weighted(0.3)), 0..12).prop_map(|pushes| {
        let candidate = |(at, (tag, content, denied)): (usize, (String, u8, bool))| {
            let sequence = i64::try_from(at).unwrap() + 10;
            if denied { may_not(sequence, &tag, content) } else { may(sequence, &tag, content) }
        };
        pushes.into_iter().enumerate().map(candidate).collect()
    })
}

/// One to three triggers that all see the same pushes, as triggers of one repository do.
fn views() -> impl Strategy<Value = View> {
    let pattern = prop::sample::select(vec!["v*", "^1", "*", "main", "/v2.*/", ">=2, <4"]);
    let rules = prop::collection::vec((pattern, prop::sample::select(vec!["app", "other"]), prop::bool::weighted(0.2)), 1..4);
    (rules, candidates(), 0u8..6, any::<bool>(), tag(), prop::collection::vec((tag(), 0u8..6), 0..3)).prop_map(
        |(rules, open, content, failed, tag, waiting)| {
            let triggers = rules.into_iter().enumerate().map(|(at, (pattern, container, held))| {
                let mut trigger = trigger(&format!("t-{at}"), container, pattern);
                trigger.held = held.then(|| Hold { reason: "x".into(), by: "user:a".parse().unwrap(), at: NOW, push: 12 });
                let filter = TagFilter::new(&trigger.tag, &trigger.exclude).unwrap();
                let waiting = waiting.iter().enumerate().map(|(at, (tag, content))| push(i64::try_from(at).unwrap() + 1, tag, *content));
                let waiting = waiting.filter(|push| matches!(filter.test(&push.tag), Answer::Match(_))).collect();
                TriggerView { trigger, open: open.clone(), waiting }
            });
            View { failed, ..view(&tag, content, triggers.collect()) }
        },
    )
}

/// The view after the decisions are written.
fn after(view: &View, outcome: &Outcome) -> View {
    let mut next = view.clone();
    for of in &mut next.triggers {
        let verdict = |push: &Push| {
            let mine = |decision: &&Decision| decision.trigger == of.trigger.id && decision.push == push.sequence;
            outcome.decisions.iter().find(mine).map(|decision| decision.verdict.clone())
        };
        for candidate in &of.open {
            match verdict(&candidate.push) {
                Some(Verdict::Take) => {
                    let Push { repository, digest, tag, .. } = candidate.push.clone();
                    let running = Running { repository: Some(repository.to_string()), digest: Some(digest), tags: vec![tag] };
                    next.running.insert(of.trigger.container.clone(), running);
                    next.failed = false;
                }
                Some(Verdict::Runs) => {
                    next.running.entry(of.trigger.container.clone()).or_default().tags.push(candidate.push.tag.clone());
                }
                Some(Verdict::Wait(_)) => of.waiting.push(candidate.push.clone()),
                _ => {}
            }
        }
        of.waiting.retain(|push| !matches!(verdict(push), Some(Verdict::Supersede { .. })));
        of.open.retain(|candidate| verdict(&candidate.push).is_none());
    }
    next
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_open_push_gets_one_decision_and_then_there_is_nothing_left(view in views()) {
        let outcome = decide(&view, NOW);
        let pairs: Vec<(&str, i64)> = outcome.decisions.iter().map(|decision| (decision.trigger.as_str(), decision.push)).collect();
        let unique: BTreeSet<_> = pairs.iter().copied().collect();
        prop_assert_eq!(pairs.len(), unique.len(), "a pair is decided twice: {:?}", outcome);
        for of in &view.triggers {
            for candidate in &of.open {
                prop_assert!(unique.contains(&(of.trigger.id.as_str(), candidate.push.sequence)), "{:?}", candidate);
            }
        }
        let again = decide(&after(&view, &outcome), NOW);
        prop_assert!(again.decisions.is_empty(), "decided again: {:?}", again);
    }

    #[test]
    fn what_is_taken_may_be_taken(view in views()) {
        let outcome = decide(&view, NOW);
        let mut containers = BTreeSet::new();
        for decision in outcome.decisions.iter().filter(|decision| decision.verdict == Verdict::Take) {
            let of = view.triggers.iter().find(|of| of.trigger.id == decision.trigger).unwrap();
            let candidate = of.open.iter().find(|candidate| candidate.push.sequence == decision.push).unwrap();
            let running = &view.running[&of.trigger.container];
            prop_assert!(containers.insert(&of.trigger.container), "two deployments of one container");
            prop_assert!(candidate.missing.is_none() && of.trigger.held.is_none());
            prop_assert!(view.failed || running.digest.as_ref() != Some(&candidate.push.digest));
            let filter = TagFilter::new(&of.trigger.tag, &of.trigger.exclude).unwrap();
            prop_assert!(matches!(filter.test(&candidate.push.tag), Answer::Match(_)));
            if of.trigger.tag.kind == TagKind::Semver {
                let floor = running.tags.iter().filter_map(version).max();
                prop_assert!(floor.is_none_or(|floor| version(&candidate.push.tag).unwrap() >= floor), "went down");
            }
        }
    }

    #[test]
    fn what_supersedes_is_no_step_back(view in views()) {
        for decision in decide(&view, NOW).decisions {
            let Verdict::Supersede { by } = decision.verdict else { continue };
            let of = view.triggers.iter().find(|of| of.trigger.id == decision.trigger).unwrap();
            if of.trigger.tag.kind != TagKind::Semver {
                prop_assert!(by > decision.push, "{} superseded by {by}", decision.push);
            }
        }
    }

    /// A storm ends where its pushes would have ended one by one.
    #[test]
    fn coalescing_changes_nothing_in_the_end(open in candidates(), pattern in prop::sample::select(vec!["v*", "^1", "*", ">=1, <4"])) {
        let open: Vec<Candidate> = open.into_iter().map(|candidate| Candidate { missing: None, ..candidate }).collect();
        let start = |open| view("v0.0.1", 77, vec![of(pattern, open)]);
        let at_once = start(open.clone());
        let at_once = after(&at_once, &decide(&at_once, NOW));
        let mut stepwise = start(Vec::new());
        for candidate in open {
            stepwise.triggers[0].open = vec![candidate];
            stepwise = after(&stepwise, &decide(&stepwise, NOW));
        }
        prop_assert_eq!(&at_once.running["app"].digest, &stepwise.running["app"].digest);
    }
}
