//! Worlds and questions, made up by one seed. Names come from a handful of components that begin and end alike, grants and tokens are
//! about few of them, and most questions are about what some grant is about, or miss it by one thing: one role, one component, one
//! character, one kind, somebody of the same name.

use identity::testing::{Question, World};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Questions asked in one world.
const QUESTIONS: usize = 40;

const PEOPLE: &[&str] = &["user:amy", "user:bob", "user:ci", "robot:ci", "robot:core", "robot:amy"];
const TEAMS: &[&str] = &["team:core", "team:amy", "team:ops"];
/// Grants may still name who is gone, and who is gone may still ask.
const GONE: &str = "user:gone";
const COMPONENTS: &[&str] = &["a", "ab", "abb", "b", "web", "web-1", "berth"];
const GLOBS: &[&str] = &["*", "a*", "*b", "a*b", "web-*", "*-*", "w*b*", "b*h"];
/// What `*` is made to stand for.
const FILL: &[&str] = &["", "a", "b", "-1", "web"];

const LADDERS: &[(&str, &[&str])] = &[
    ("repository", &["pull", "push", "maintain", "admin"]),
    ("service", &["view", "deploy", "operate", "admin"]),
    ("cluster", &["view", "deploy", "operate", "admin"]),
    ("family", &["view", "deploy", "operate", "admin"]),
    ("server", &["admin"]),
];

/// What a grant, a rule of a token or a question is about.
#[derive(Debug, Clone)]
struct About {
    role: String,
    kind: String,
    name: String,
}

pub fn world(seed: u64) -> (World, Vec<Question>) {
    let mut made = Generator { random: StdRng::seed_from_u64(seed) };
    let world = made.world();
    let questions = (0..QUESTIONS).map(|_| made.question(&world)).collect();
    (world, questions)
}

struct Generator {
    random: StdRng,
}

impl Generator {
    /// Once in `times`.
    fn once_in(&mut self, times: u32) -> bool {
        self.random.random_range(0..times) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.choose(&mut self.random).copied().expect("there is something to choose from")
    }

    fn world(&mut self) -> World {
        let mut world = World::default();
        for who in PEOPLE.iter().chain(TEAMS) {
            if !self.once_in(4) {
                world.principals.push((*who).to_owned());
            }
        }
        for who in world.principals.clone() {
            if who.starts_with("team:") {
                continue;
            }
            if self.once_in(8) {
                world.disabled.push(who.clone());
            }
            for team in world.principals.iter().filter(|team| team.starts_with("team:")) {
                if self.once_in(3) {
                    world.members.push((team.clone(), who.clone()));
                }
            }
        }
        for _ in 0..self.random.random_range(1..12) {
            let who = if self.once_in(30) { GONE.to_owned() } else { self.somebody(&world) };
            world.grants.push(format!("{who} {}", self.rule()));
        }
        for _ in 0..self.random.random_range(1..4) {
            world.tokens.push(self.token(&world));
        }
        world
    }

    fn somebody(&mut self, world: &World) -> String {
        world.principals.choose(&mut self.random).cloned().unwrap_or_else(|| GONE.to_owned())
    }

    fn rule(&mut self) -> About {
        let (kind, roles) = if self.once_in(2) { LADDERS[0] } else { *LADDERS.choose(&mut self.random).expect("kinds") };
        let role = self.pick(roles).to_owned();
        About { role, kind: kind.to_owned(), name: self.pattern(kind) }
    }

    fn pattern(&mut self, kind: &str) -> String {
        if kind == "server" {
            return self.pick(&["berth", "berth", "*", "**", "b*", "a"]).to_owned();
        }
        let depth = match kind {
            "service" => 2,
            "repository" => self.random.random_range(0..4),
            _ => self.random.random_range(0..2),
        };
        let mut components: Vec<&str> =
            (0..depth).map(|_| if self.once_in(3) { self.pick(GLOBS) } else { self.pick(COMPONENTS) }).collect();
        if components.is_empty() || self.once_in(4) {
            components.push("**");
        }
        components.join("/")
    }

    /// A token that is narrowed to what a grant is about, or nearly so, or to something else; sometimes to nothing at all.
    fn token(&mut self, world: &World) -> Vec<String> {
        let mut rules = Vec::new();
        for _ in 0..self.random.random_range(0..4) {
            let mut about = self.rule();
            if !self.once_in(5)
                && let Some(granted) = self.granted(world)
            {
                about = granted;
                if self.once_in(2) {
                    about.role = self.another_role(&about);
                }
                if self.once_in(4) {
                    about.name = self.instance(&about.name);
                }
            }
            rules.push(about.to_string());
        }
        rules
    }

    fn granted(&mut self, world: &World) -> Option<About> {
        world.grants.choose(&mut self.random).map(|grant| About::of(grant))
    }

    fn question(&mut self, world: &World) -> Question {
        let Some(grant) = world.grants.choose(&mut self.random).cloned() else { unreachable!("a world has a grant") };
        let mut about = About::of(&grant);
        about.name = self.instance(&about.name);
        let mut who = self.holder(world, &grant);
        match self.random.random_range(0..10) {
            0 => about.role = self.another_role(&about),
            1 | 2 => about.name = self.another_name(&about.name),
            3 => who = self.somebody_who_acts(world),
            4 => about.kind = self.pick(&["repository", "service", "cluster", "family", "server"]).to_owned(),
            5 => {
                about = self.rule();
                about.name = self.instance(&about.name);
            }
            6 => about.role = self.pick(&["pull", "push", "maintain", "view", "deploy", "operate", "admin"]).to_owned(),
            _ => about.role = self.lower_role(&about),
        }
        let token = self.once_in(3).then(|| self.random.random_range(0..world.tokens.len()));
        Question { who, role: about.role, resource: format!("{}:{}", about.kind, about.name), token }
    }

    /// Whose grant it is; of a team's, one of its members.
    fn holder(&mut self, world: &World, grant: &str) -> String {
        let who = grant.split(' ').next().unwrap_or_default();
        if !who.starts_with("team:") {
            return who.to_owned();
        }
        let members: Vec<&String> = world.members.iter().filter(|(team, _)| team == who).map(|(_, member)| member).collect();
        match members.choose(&mut self.random) {
            Some(member) => (*member).clone(),
            None => self.somebody_who_acts(world),
        }
    }

    fn somebody_who_acts(&mut self, world: &World) -> String {
        let acting: Vec<&String> = world.principals.iter().filter(|who| !who.starts_with("team:")).collect();
        if self.once_in(20) {
            return GONE.to_owned();
        }
        acting.choose(&mut self.random).map_or_else(|| GONE.to_owned(), |who| (*who).clone())
    }

    fn ladder(about: &About) -> &'static [&'static str] {
        LADDERS.iter().find(|(kind, _)| *kind == about.kind).map_or(&[], |(_, roles)| roles)
    }

    fn another_role(&mut self, about: &About) -> String {
        self.pick(Self::ladder(about)).to_owned()
    }

    /// The same role or one below it.
    fn lower_role(&mut self, about: &About) -> String {
        let ladder = Self::ladder(about);
        let at = ladder.iter().position(|role| *role == about.role).unwrap_or_default();
        ladder[self.random.random_range(0..=at)].to_owned()
    }

    /// A name that fits the pattern.
    fn instance(&mut self, pattern: &str) -> String {
        let mut components = Vec::new();
        for component in pattern.split('/') {
            if component == "**" {
                components.extend((0..self.random.random_range(1..4)).map(|_| self.pick(COMPONENTS).to_owned()));
                continue;
            }
            let mut text = String::new();
            for part in component.split_inclusive('*') {
                text.push_str(part.trim_end_matches('*'));
                if part.ends_with('*') {
                    text.push_str(self.pick(FILL));
                }
            }
            // A component has something in it.
            components.push(if text.is_empty() { self.pick(COMPONENTS).to_owned() } else { text });
        }
        components.join("/")
    }

    /// A name that is nearly this one.
    fn another_name(&mut self, name: &str) -> String {
        let mut components: Vec<String> = name.split('/').map(str::to_owned).collect();
        let at = self.random.random_range(0..components.len());
        match self.random.random_range(0..6) {
            0 => components.push(self.pick(COMPONENTS).to_owned()),
            1 if components.len() > 1 => {
                components.remove(at);
            }
            2 => components.insert(at, self.pick(COMPONENTS).to_owned()),
            3 => components[at].push_str(self.pick(&["a", "b", "c", "-1", "."])),
            4 if components[at].len() > 1 => {
                components[at].pop();
            }
            _ => components[at].insert_str(0, self.pick(&["a", "b", "c", "1-"])),
        }
        components.join("/")
    }
}

impl About {
    /// Of a grant.
    fn of(grant: &str) -> Self {
        let mut words = grant.split([' ', ':']).skip(2).map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        Self { role: word(), kind: word(), name: word() }
    }
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}:{}", self.role, self.kind, self.name)
    }
}
