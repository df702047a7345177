//! The migrations are compiled in: a new file has to be seen.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
