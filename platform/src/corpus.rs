//! The corpus that fuzz targets start from (`fuzz/corpus`), for the tests that replay it (feature `testing`).

use std::path::Path;

/// Gives every file of the corpus of `target` to `takes`, and says which one before.
pub fn replay(target: &str, takes: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(corpus).expect("a corpus").map(|file| file.expect("a file of it").path()).collect();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    for file in files {
        println!("{}", file.display());
        takes(&std::fs::read(&file).expect("a file that can be read"));
    }
}
