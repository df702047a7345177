//! The two answers side by side: `decide`'s and Cedar's. A difference is told with the smallest part of the world that still shows it.

use crate::cedar::{Answer, Cedar, Vocabulary, WhyNot, policies_of};
use anyhow::{Context, Result, bail};
use identity::testing::{Question, World};
use std::collections::BTreeSet;
use std::fmt::Write;

/// How many answers there were, and why it was no.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub allowed: usize,
    pub no_grant: usize,
    pub no_such_role: usize,
    pub disabled: usize,
    pub token: usize,
    /// Lists of who can, compared as a whole.
    pub lists: usize,
}

/// Two answers that are not the same.
#[derive(Debug)]
pub struct Difference {
    pub question: Question,
    pub decide: String,
    pub cedar: String,
}

impl Counts {
    pub const fn denied(&self) -> usize {
        self.no_grant + self.no_such_role + self.disabled + self.token
    }

    pub const fn and(self, other: Self) -> Self {
        Self {
            allowed: self.allowed + other.allowed,
            no_grant: self.no_grant + other.no_grant,
            no_such_role: self.no_such_role + other.no_such_role,
            disabled: self.disabled + other.disabled,
            token: self.token + other.token,
            lists: self.lists + other.lists,
        }
    }

    fn count(&mut self, answer: &Answer) {
        match (answer.allowed, answer.why_not) {
            (true, _) => self.allowed += 1,
            (false, WhyNot::NoGrant) => self.no_grant += 1,
            (false, WhyNot::NoSuchRole) => self.no_such_role += 1,
            (false, WhyNot::Disabled) => self.disabled += 1,
            (false, WhyNot::Token) => self.token += 1,
        }
    }
}

/// Cedar's answers, and the first difference.
pub fn compare(vocabulary: &Vocabulary, world: &World, questions: &[Question]) -> Result<(Vec<bool>, Counts, Option<Difference>)> {
    let (asked, cedar) = (world.read().context("a world that decide cannot read")?, Cedar::new(vocabulary, world)?);
    let (mut answers, mut counts) = (Vec::new(), Counts::default());
    for question in questions {
        let (ours, theirs) = (asked.decide(question)?, cedar.ask(question)?);
        counts.count(&theirs);
        answers.push(theirs.allowed);
        let via = ours.via.as_ref().map(|id| id.parse::<usize>()).transpose()?;
        let named = via.is_none_or(|id| theirs.grants.contains(&id)) && via.is_some() == ours.allowed;
        if ours.allowed != theirs.allowed || !named {
            let difference = Difference { question: question.clone(), decide: format!("{ours:?}"), cedar: format!("{theirs:?}") };
            return Ok((answers, counts, Some(difference)));
        }
    }
    if let Some(question) = questions.first() {
        counts.lists += 1;
        let difference = compare_lists(world, question, &asked, &cedar)?;
        return Ok((answers, counts, difference));
    }
    Ok((answers, counts, None))
}

/// Who can, by which grants: the list, and Cedar asked about everybody who acts.
fn compare_lists(world: &World, question: &Question, asked: &identity::testing::Asked, cedar: &Cedar<'_>) -> Result<Option<Difference>> {
    let list = asked.who_can(&question.role, &question.resource)?;
    for who in world.principals.iter().filter(|who| !who.starts_with("team:")) {
        let question = Question { who: who.clone(), token: None, ..question.clone() };
        let theirs = cedar.ask(&question)?;
        let ours = list.iter().find(|entry| entry.principal.to_string() == *who && !entry.disabled);
        let ours =
            ours.map(|entry| entry.via.iter().map(|grant| Ok(grant.id.parse()?)).collect::<Result<BTreeSet<usize>>>()).transpose()?;
        if ours.clone().unwrap_or_default() != theirs.grants || ours.is_some() != theirs.allowed {
            return Ok(Some(Difference { question, decide: format!("who-can: {ours:?}"), cedar: format!("{theirs:?}") }));
        }
    }
    Ok(None)
}

/// What to print of a difference: the smallest world that has one, its policies, both answers.
pub fn report(vocabulary: &Vocabulary, seed: u64, world: &World, difference: Difference) -> Result<String> {
    let (world, difference) = smaller(vocabulary, world.clone(), difference)?;
    let mut text = format!("seed {seed}: {}\n  decide: {}\n  Cedar:  {}\n", difference.question, difference.decide, difference.cedar);
    writeln!(text, "in the world\n{}\nwhich Cedar has as", serde_json::to_string_pretty(&world)?)?;
    for (id, policy) in policies_of(&world)? {
        writeln!(text, "  [{id}] {policy}")?;
    }
    Ok(text)
}

/// Takes grants, memberships and rules away as long as the question is still answered differently.
fn smaller(vocabulary: &Vocabulary, mut world: World, mut difference: Difference) -> Result<(World, Difference)> {
    'again: loop {
        for less in with_less(&world) {
            if let (_, _, Some(found)) = compare(vocabulary, &less, std::slice::from_ref(&difference.question))? {
                (world, difference) = (less, found);
                continue 'again;
            }
        }
        return Ok((world, difference));
    }
}

/// The world without one thing, in every way.
fn with_less(world: &World) -> Vec<World> {
    let mut worlds = Vec::new();
    for at in 0..world.grants.len() {
        let mut less = world.clone();
        less.grants.remove(at);
        worlds.push(less);
    }
    for at in 0..world.members.len() {
        let mut less = world.clone();
        less.members.remove(at);
        worlds.push(less);
    }
    for (at, rules) in world.tokens.iter().enumerate() {
        for rule in 0..rules.len() {
            let mut less = world.clone();
            less.tokens[at].remove(rule);
            worlds.push(less);
        }
    }
    worlds
}

/// Says a world and every answer in it.
pub fn aloud(vocabulary: &Vocabulary, world: &World, questions: &[Question]) -> Result<()> {
    let cedar = Cedar::new(vocabulary, world)?;
    println!("{}", serde_json::to_string_pretty(world)?);
    for (id, policy) in policies_of(world)? {
        println!("[{id}] {policy}");
    }
    for question in questions {
        println!("{question}: {:?}", cedar.ask(question)?);
    }
    Ok(())
}

/// Questions that are nearly all answered the same show little.
pub fn check(counts: &Counts) -> Result<()> {
    let all = counts.allowed + counts.denied();
    for (what, count, least) in [("allowed", counts.allowed, 4), ("denied", counts.denied(), 4), ("stopped by a token", counts.token, 50)] {
        if count < all / least {
            bail!("only {count} of {all} questions are {what}: the generator asks too little");
        }
    }
    Ok(())
}
