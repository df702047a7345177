//! What happened, line by line with the virtual time, and a hash of all of it: the same seed gives the same hash.

use std::collections::VecDeque;
use std::time::Duration;

/// Lines kept to show when a seed fails; all of them count in the hash.
const LINES_KEPT: usize = 400;

#[derive(Debug)]
pub struct Trace {
    lines: VecDeque<String>,
    hash: u64,
    count: u64,
    aloud: bool,
}

impl Trace {
    /// `aloud`: every line is printed as it happens.
    pub fn new(aloud: bool) -> Self {
        // FNV-1a's offset.
        Self { lines: VecDeque::new(), hash: 0xCBF2_9CE4_8422_2325, count: 0, aloud }
    }

    pub fn say(&mut self, at: Duration, text: &str) {
        let line = format!("{:>9.3} {text}", at.as_secs_f64());
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        self.count += 1;
        if self.aloud {
            println!("{line}");
        }
        if self.lines.len() == LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        self.lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }
}
