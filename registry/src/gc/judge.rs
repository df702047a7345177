//! Whether something is garbage. Pure: what is known of it goes in, with the moment before which its time must have begun.

use model::Timestamp;

/// What can be garbage, in the order in which it is collected: what goes makes the next possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A manifest that no tag, index or subject keeps.
    Manifest,
    /// That a repository holds a blob which none of its manifests names.
    Link,
    /// A blob that no repository holds.
    Blob,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Manifest, Self::Link, Self::Blob];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Link => "link",
            Self::Blob => "blob",
        }
    }
}

/// What keeps something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Tag,
    Index,
    /// It refers to a subject that is there: a signature, an SBOM.
    Subject,
    Manifest,
    Repository,
}

/// What is known of a candidate at the moment of the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Since when nothing needs it, or since when somebody last asked for it; none: it is in use.
    pub since: Option<Timestamp>,
    pub need: Option<Need>,
    /// Who pinned it, `task-definition:web:7`.
    pub pinned_by: Option<String>,
}

/// What becomes of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Remove,
    /// It is gone, or in use, or its time has begun anew since it was chosen: left alone.
    Leave,
    /// Something came to need it: it leaves the queue until that goes.
    Keep(Need),
    /// Its time begins anew: whoever unpins it says so to nobody here.
    Pinned(String),
}

/// Decides about a candidate whose time must have begun at `cutoff` or before.
pub fn judge(facts: Option<&Facts>, cutoff: Timestamp) -> Verdict {
    let Some(facts) = facts else { return Verdict::Leave };
    if facts.since.is_none_or(|since| since > cutoff) {
        return Verdict::Leave;
    }
    if let Some(need) = facts.need {
        return Verdict::Keep(need);
    }
    facts.pinned_by.clone().map_or(Verdict::Remove, Verdict::Pinned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(since: Option<i64>, need: Option<Need>, pinned_by: Option<&str>) -> Facts {
        Facts { since: since.map(Timestamp::from_micros), need, pinned_by: pinned_by.map(str::to_owned) }
    }

    #[test]
    fn only_what_nothing_needs_goes_and_only_when_its_time_is_over() {
        let cutoff = Timestamp::from_micros(100);
        for (facts, expected) in [
            (facts(Some(100), None, None), Verdict::Remove),
            (facts(Some(1), None, None), Verdict::Remove),
            (facts(Some(101), None, None), Verdict::Leave),
            (facts(None, None, None), Verdict::Leave),
            (facts(Some(1), Some(Need::Tag), None), Verdict::Keep(Need::Tag)),
            (facts(Some(1), Some(Need::Manifest), Some("x")), Verdict::Keep(Need::Manifest)),
            (facts(Some(1), None, Some("task-definition:web:7")), Verdict::Pinned("task-definition:web:7".into())),
            (facts(Some(101), None, Some("x")), Verdict::Leave),
        ] {
            assert_eq!(judge(Some(&facts), cutoff), expected, "{facts:?}");
        }
        assert_eq!(judge(None, cutoff), Verdict::Leave, "a row that is gone");
    }

    proptest! {
        #[test]
        fn what_is_needed_pinned_or_young_never_goes(since in proptest::option::of(0..200i64), needed: bool, pinned: bool, cutoff in 0..200i64) {
            let facts = facts(since, needed.then_some(Need::Index), pinned.then_some("x"));
            let goes = judge(Some(&facts), Timestamp::from_micros(cutoff)) == Verdict::Remove;
            prop_assert_eq!(goes, !needed && !pinned && since.is_some_and(|since| since <= cutoff));
        }
    }
}
