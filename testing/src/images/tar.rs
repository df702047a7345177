//! Writes ustar archives, the same bytes for the same content: digests in tests do not change from run to run.

/// Length of a header and of the padding unit, in bytes.
const BLOCK: usize = 512;

/// An archive that grows entry by entry.
#[derive(Debug, Default, Clone)]
pub struct Archive(Vec<u8>);

impl Archive {
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.entry(path, mode, b'5', "", &[]);
    }

    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, mode, b'0', "", content);
    }

    pub fn symlink(&mut self, path: &str, target: &str) {
        self.entry(path, 0o777, b'2', target, &[]);
    }

    /// The whole archive, with its two closing blocks.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }

    fn entry(&mut self, path: &str, mode: u32, kind: u8, link: &str, content: &[u8]) {
        assert!(path.len() < 100 && link.len() < 100, "ustar paths are short: {path}");
        let mut header = [0u8; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, path.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{:011o}", content.len()).as_bytes());
        put(136, b"00000000000");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn is_read_by_tar() {
        let mut archive = Archive::default();
        archive.folder("bin", 0o755);
        archive.file("bin/tool", 0o755, b"content");
        archive.symlink("bin/alias", "tool");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.tar"), archive.finish()).unwrap();
        let status = Command::new("tar").args(["-xf", "a.tar"]).current_dir(folder.path()).status().unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read(folder.path().join("bin/alias")).unwrap(), b"content");
    }
}
