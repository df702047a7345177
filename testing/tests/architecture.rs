//! The lines that ARCHITECTURE.md draws, held by tests: who may depend on whom, where SQL stands, who is a client, how long files
//! are.

use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file, its tests not counted, in lines.
const FILE_LINES_MAX: usize = 500;

/// Which crates of ours each crate may depend on. A crate that is missing here fails the test: decide where it belongs first.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("api", &["model"]),
    ("platform", &["model"]),
    ("identity", &["model", "api", "platform"]),
    ("registry", &["model", "api", "platform", "identity"]),
    ("deployer", &["model", "api", "platform", "identity"]),
    ("agent", &["model", "api"]),
    ("berth", &["model", "api", "platform", "identity", "registry", "deployer", "agent"]),
    ("testing", &[]),
    // Brings both sides together in one process, to play them against each other. Nothing depends on it.
    ("simulation", &["model", "api", "platform", "identity", "deployer", "agent"]),
    ("conformance", &["testing"]),
    ("bench", &["model", "api", "agent", "testing", "conformance"]),
];

/// Crates from outside that only these of ours may use, directly or through others.
const ONLY_USED_BY: &[(&str, &[&str])] = &[
    ("sqlx", &["platform", "identity", "registry", "deployer", "berth", "testing", "conformance", "bench", "simulation"]),
    ("bollard", &["agent", "berth", "bench", "simulation"]),
];

struct Workspace {
    root: PathBuf,
    /// Normal dependencies by name, for every package that the workspace is made of or uses.
    dependencies: BTreeMap<String, BTreeSet<String>>,
    members: Vec<Package>,
}

fn workspace() -> Workspace {
    let metadata = MetadataCommand::new().manifest_path("../Cargo.toml").exec().expect("cargo metadata runs");
    let normal = |package: &Package| {
        let kept = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        kept.map(|dependency| dependency.name.clone()).collect()
    };
    Workspace {
        root: metadata.workspace_root.clone().into(),
        dependencies: metadata.packages.iter().map(|package| (package.name.to_string(), normal(package))).collect(),
        members: metadata.workspace_packages().into_iter().cloned().collect(),
    }
}

impl Workspace {
    /// Whether `from` reaches `to` over members of the workspace (what others bring along is their affair).
    fn reaches(&self, from: &str, to: &str) -> bool {
        let members: BTreeSet<&str> = self.members.iter().map(|package| package.name.as_str()).collect();
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(name) = open.pop() {
            for next in self.dependencies.get(name).into_iter().flatten() {
                if next == to {
                    return true;
                }
                if members.contains(next.as_str()) && seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    }

    /// Rust files of the members, relative to the root.
    fn rust_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for member in &self.members {
            let folder = member.manifest_path.parent().expect("a manifest stands in a folder");
            collect(folder.as_std_path(), &mut files);
        }
        assert!(files.len() > 50, "the walk found too little to be right");
        files.into_iter().map(|file| file.strip_prefix(&self.root).expect("members are inside").to_owned()).collect()
    }

    fn read(&self, file: &Path) -> String {
        std::fs::read_to_string(self.root.join(file)).expect("a file that was just listed can be read")
    }
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder can be listed").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn is_test(file: &Path) -> bool {
    file.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

/// The lines before the tests inside the file.
fn without_tests(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"))
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn dependencies_point_one_way() {
    let workspace = workspace();
    let rules: BTreeMap<&str, &[&str]> = MAY_DEPEND_ON.iter().copied().collect();
    let names: BTreeSet<&str> = workspace.members.iter().map(|package| package.name.as_str()).collect();
    let mut wrong = Vec::new();
    for name in &names {
        let Some(allowed) = rules.get(name) else {
            wrong.push(format!("{name} has no rule"));
            continue;
        };
        let ours = workspace.dependencies[*name].iter().filter(|dependency| names.contains(dependency.as_str()));
        wrong.extend(ours.filter(|dependency| !allowed.contains(&dependency.as_str())).map(|dependency| format!("{name} -> {dependency}")));
    }
    assert_none("dependencies against the rules", &wrong);
}

#[test]
fn registry_and_deployer_do_not_know_each_other() {
    let workspace = workspace();
    assert!(!workspace.reaches("registry", "deployer"));
    assert!(!workspace.reaches("deployer", "registry"));
}

#[test]
fn the_agent_knows_no_database_and_no_server_crate() {
    let workspace = workspace();
    for server_side in ["sqlx", "platform", "identity", "registry", "deployer"] {
        assert!(!workspace.reaches("agent", server_side), "agent reaches {server_side}");
    }
}

#[test]
fn outside_crates_stay_where_they_belong() {
    let workspace = workspace();
    let mut wrong = Vec::new();
    for (crate_name, users) in ONLY_USED_BY {
        let members = workspace.members.iter().map(|package| package.name.as_str());
        let others = members.filter(|name| !users.contains(name) && workspace.reaches(name, crate_name));
        wrong.extend(others.map(|name| format!("{name} -> {crate_name}")));
    }
    assert_none("crates used where they do not belong", &wrong);
}

/// The commands that are no clients: they start a server or an agent in this process, as the composition root does.
const START_PROCESSES: &[&str] = &["berth/src/commands/server.rs", "berth/src/commands/agent.rs"];

/// The commands speak to the public APIs only, as anybody else's client does.
#[test]
fn client_commands_use_no_server_crate() {
    let workspace = workspace();
    let mut wrong = Vec::new();
    let is_client = |file: &&PathBuf| file.starts_with("berth/src/commands") && !START_PROCESSES.iter().any(|path| file.ends_with(path));
    for file in workspace.rust_files().iter().filter(is_client) {
        for crate_name in ["platform::", "identity::", "registry::", "deployer::", "agent::", "sqlx::"] {
            let used = |line: &&str| {
                let line = line.trim_start();
                line.starts_with(&format!("use {crate_name}")) || line.contains(&format!(" {crate_name}")) && !line.starts_with("//")
            };
            wrong.extend(workspace.read(file).lines().filter(used).map(|line| format!("{}: {}", file.display(), line.trim())));
        }
    }
    assert_none("client commands that use a server crate", &wrong);
}

#[test]
fn sql_stands_in_stores_only() {
    let workspace = workspace();
    let mut wrong = Vec::new();
    for file in workspace.rust_files() {
        let in_store = file.components().any(|part| matches!(part.as_os_str().to_str(), Some("store" | "store.rs")));
        if in_store || file.starts_with("platform") || is_test(&file) {
            continue;
        }
        let text = workspace.read(&file);
        wrong.extend(without_tests(&text).filter(|line| is_sql(line)).map(|line| format!("{}: {}", file.display(), line.trim())));
    }
    assert_none("SQL outside a store", &wrong);
}

/// The server makes no request: so nobody can send it anywhere, by a `realm`, by `urls`, by a `from`, or make it give its credentials away.
#[test]
fn servers_ask_nobody() {
    let workspace = workspace();
    let is_served = |file: &&PathBuf| {
        let crates = ["platform/src", "identity/src", "registry/src", "deployer/src", "berth/src/server", "berth/src/server.rs"];
        crates.iter().any(|path| file.starts_with(path)) && !is_test(file)
    };
    let mut wrong = Vec::new();
    for file in workspace.rust_files().iter().filter(is_served) {
        let text = workspace.read(file);
        let asks = |line: &&str| ["reqwest", "hyper_util::client", "::client::", "Stream::connect"].iter().any(|word| line.contains(word));
        wrong.extend(without_tests(&text).filter(asks).map(|line| format!("{}: {}", file.display(), line.trim())));
    }
    assert_none("a server that is a client", &wrong);
}

/// Layers are bytes to us, and so is what claims to be compressed: nothing of the product could unpack it.
#[test]
fn nothing_unpacks() {
    let workspace = workspace();
    let unpackers = ["flate2", "zstd", "brotli", "bzip2", "xz2", "async-compression", "tar", "zip"];
    let found: Vec<_> = unpackers.iter().filter(|name| workspace.dependencies.contains_key(**name)).map(ToString::to_string).collect();
    assert_none("crates that unpack archives", &found);
}

/// The planner looks at what `changes` names: a change that leaves no number there would wait for somebody else's.
#[test]
fn what_a_plan_is_made_from_never_changes_silently() {
    let workspace = workspace();
    let mut wrong = Vec::new();
    for file in workspace.rust_files().into_iter().filter(|file| file.starts_with("deployer/src/store")) {
        let text = workspace.read(&file);
        for function in text.split("\npub async fn ").skip(1) {
            let body = function.split("\n}\n").next().unwrap_or_default();
            let writes = |table: &str| body.contains(&format!("\"update {table} set")) || body.contains(&format!("\"insert into {table} "));
            let plans = ["services", "deployments", "service_deployments", "tasks", "instances"].into_iter().any(writes);
            if plans && !body.contains("changes::") && !body.contains("touch(") {
                wrong.push(format!("{}: {}", file.display(), function.lines().next().unwrap_or_default()));
            }
        }
    }
    assert_none("writes of which the planner does not hear (store::changes)", &wrong);
}

/// A line that holds a statement's beginning, written as SQL is here: in a string, in lower case or capitals.
fn is_sql(line: &str) -> bool {
    let line = line.trim_start();
    if line.starts_with("//") {
        return false;
    }
    let lower = line.to_lowercase();
    let begins = |word: &str| lower.contains(&format!("\"{word} ")) || lower.starts_with(&format!("{word} "));
    (begins("select") && lower.contains(" from "))
        || lower.contains("insert into ")
        || begins("delete from")
        || (begins("update") && lower.contains(" set "))
        || line.contains("sqlx::query")
}

#[test]
fn sql_is_recognised() {
    for statement in
        ["\"select a from b\"", "\"INSERT INTO t values ($1)\"", "\"delete from t\"", "\"update t set a = $1\"", "sqlx::query(X)"]
    {
        assert!(is_sql(statement), "{statement}");
    }
    for prose in ["// select what comes from there", "select! { from = x => {} }", "\"update the service\"", "let from = select(1);"] {
        assert!(!is_sql(prose), "{prose}");
    }
}

#[test]
fn files_hold_one_idea_and_say_which() {
    let workspace = workspace();
    let (mut long, mut silent, mut misnamed, mut allowing) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for file in workspace.rust_files() {
        let (name, text) = (file.display().to_string(), workspace.read(&file));
        let lines = without_tests(&text).count();
        if lines > FILE_LINES_MAX && !is_test(&file) {
            long.push(format!("{name}: {lines} lines"));
        }
        if !text.starts_with("//!") {
            silent.push(name.clone());
        }
        if file.ends_with("mod.rs") {
            misnamed.push(name.clone());
        }
        let allows = |line: &&str| line.trim_start().starts_with("#[allow(") || line.trim_start().starts_with("#![allow(");
        allowing.extend(text.lines().filter(allows).map(|line| format!("{name}: {}", line.trim())));
    }
    assert_none(&format!("files over {FILE_LINES_MAX} lines"), &long);
    assert_none("files without a //! header", &silent);
    assert_none("mod.rs files (write foo.rs beside foo/)", &misnamed);
    assert_none("allow in place of expect with a reason", &allowing);
}
