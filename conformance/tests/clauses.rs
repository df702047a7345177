//! Whether every clause of the specification has its test: `oci-clauses.txt` against the names of the tests in `tests/oci`. And whether
//! the files and tests that `docs/traps.md` and `docs/security.md` name are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Families of tests that are Berth's own: the specification says nothing of them.
const OWN: [&str; 2] = ["access", "token"];

/// Who a clause binds, by its id.
type Clauses = BTreeMap<String, String>;

fn clauses(text: &str) -> Clauses {
    let mut clauses = Clauses::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let mut words = line.splitn(3, ' ');
        let (id, who, summary) = (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next());
        assert!(summary.is_some_and(|summary| !summary.is_empty()), "a clause is ID WHO SUMMARY: {line}");
        assert!(clauses.insert(id.to_owned(), who.to_owned()).is_none(), "{id} stands twice");
    }
    clauses
}

/// The clauses that a test's name carries: the longest family it begins with, and the numbers after that.
fn carried(test: &str, families: &BTreeSet<String>) -> Vec<String> {
    let begins = |family: &&String| test.strip_prefix(&family.to_lowercase().replace('-', "_")).is_some_and(|rest| rest.starts_with('_'));
    let Some(family) = families.iter().filter(begins).max_by_key(|family| family.len()) else { return Vec::new() };
    let numbers = test[family.len() + 1..].split('_').take_while(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()));
    numbers.map(|number| format!("{family}-{number}")).collect()
}

fn families(clauses: &Clauses) -> BTreeSet<String> {
    clauses.keys().filter_map(|id| Some(id.rsplit_once('-')?.0.to_owned())).collect()
}

/// Names of the functions under `#[tokio::test]` or `#[test]` in a text.
fn tests_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if !matches!(line.trim(), "#[test]" | "#[tokio::test]") && !line.trim().starts_with("#[tokio::test(") {
            continue;
        }
        let declared = lines.find_map(|line| line.trim().trim_start_matches("async ").strip_prefix("fn ").map(str::to_owned));
        found.extend(declared.and_then(|rest| Some(rest.split_once('(')?.0.to_owned())));
    }
    found
}

fn tests_of_oci() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oci");
    let files = std::fs::read_dir(folder).expect("the folder of the tests").flatten();
    files.flat_map(|file| tests_in(&std::fs::read_to_string(file.path()).expect("a file of tests"))).collect()
}

/// A file of the repository, by its path from the root.
fn text_of(file: &str) -> std::io::Result<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file))
}

fn is_there(place: &str) -> bool {
    let Some((file, test)) = place.split_once("::") else { return false };
    text_of(file).is_ok_and(|text| tests_in(&text).iter().any(|name| name == test))
}

/// What a document names, but is not there. A name is a file, `file::test`, `…::test` of the file named before, or `…rest` of a test
/// there that ends so.
fn missing_of(document: &str) -> Vec<String> {
    let (mut file, mut missing) = (String::new(), Vec::new());
    for name in document.lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
        let is_file = |path: &str| path.contains('/') && Path::new(path).extension().is_some_and(|end| end == "rs" || end == "py");
        let found = if let Some(test) = name.strip_prefix("…::") {
            is_there(&format!("{file}::{test}"))
        } else if let Some(end) = name.strip_prefix('…') {
            text_of(&file).is_ok_and(|text| tests_in(&text).iter().any(|test| test.ends_with(end)))
        } else if let Some((path, _)) = name.split_once("::").filter(|(path, _)| is_file(path)) {
            path.clone_into(&mut file);
            is_there(name)
        } else if is_file(name) {
            name.clone_into(&mut file);
            text_of(name).is_ok()
        } else {
            continue;
        };
        if !found {
            missing.push(format!("{name} of {file}"));
        }
    }
    missing
}

#[test]
fn what_the_documents_name_is_there() {
    for document in ["docs/traps.md", "docs/security.md"] {
        let text = text_of(document).expect("the document is there");
        let missing = missing_of(&text);
        assert!(missing.is_empty(), "{document} names what is not there: {missing:#?}");
        assert!(text.matches(".rs::").count() > 15, "{document} names next to nothing");
    }
    let wrong = "`conformance/tests/nothing.rs`, `conformance/tests/clauses.rs::none`, `…::none`, `…_none`, `…_name_is_there`, `a::b`";
    assert_eq!(missing_of(wrong).len(), 4);
}

#[test]
fn each_item_of_security_has_a_test() {
    let text = text_of("docs/security.md").expect("the document is there");
    for number in 1..=27 {
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("| {number}. "))).collect();
        let [row] = rows.as_slice() else { panic!("item {number} stands {} times", rows.len()) };
        let tests = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
        assert!(tests.contains("::"), "item {number} names no test");
    }
}

#[test]
fn every_clause_has_a_test() {
    let clauses = clauses(include_str!("../oci-clauses.txt"));
    let (families, tests) = (families(&clauses), tests_of_oci());
    let tested: BTreeSet<String> = tests.iter().flat_map(|test| carried(test, &families)).collect();
    let without = |(id, who): &(&String, &String)| match who.as_str() {
        "registry" => !tested.contains(*id),
        "client" => false,
        place => !is_there(place),
    };
    let without: Vec<&String> = clauses.iter().filter(without).map(|(id, _)| id).collect();
    assert!(without.is_empty(), "clauses without a test: {without:?}");
    let unknown: Vec<&String> = tested.iter().filter(|id| !clauses.contains_key(*id)).collect();
    assert!(unknown.is_empty(), "tests of clauses that oci-clauses.txt does not have: {unknown:?}");
}

#[test]
fn every_test_of_the_specification_says_what_it_is_about() {
    let families = families(&clauses(include_str!("../oci-clauses.txt")));
    let words: Vec<String> = families.iter().map(|family| family.to_lowercase().replace('-', "_")).chain(OWN.map(str::to_owned)).collect();
    let begins = |test: &String| words.iter().any(|word| test.starts_with(&format!("{word}_")));
    let others: Vec<String> = tests_of_oci().into_iter().filter(|test| !begins(test)).collect();
    assert!(others.is_empty(), "tests that carry no clause and no family: {others:?}");
}

#[test]
fn names_carry_their_clauses() {
    let families: BTreeSet<String> = ["PUSH", "PUSH-CHUNK", "REF", "GEN"].map(str::to_owned).into();
    let carried = |test: &str| carried(test, &families);
    assert_eq!(carried("push_chunk_3_5_each_chunk"), ["PUSH-CHUNK-3", "PUSH-CHUNK-5"]);
    assert_eq!(carried("push_1_a_digest"), ["PUSH-1"]);
    assert_eq!(carried("ref_10_the_tag"), ["REF-10"]);
    assert!(carried("push_a_blob_of_3_bytes").is_empty());
    assert!(carried("general_things").is_empty());
    assert_eq!(tests_in("#[tokio::test]\nasync fn one() {}\nfn helper() {}\n    #[test]\n    fn two() {}"), ["one", "two"]);
}
