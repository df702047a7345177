//! What goes wrong with the disk below the registry: the machine loses its power, the disk is full, the disk turns read-only.
//!
//! Each test has an ext4 of its own, mounted from a file, as the server's data folder. That takes root; where it is not permitted a test
//! fails and says so.

mod disk;
mod full;
mod machine;
mod power_loss;
mod read_only;
