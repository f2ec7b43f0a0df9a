//! What is fuzzed: everything that turns bytes of others, or of a disk, into values. Every target is a function of bytes that
//! panics when something is wrong, so that the driver of [`TARGETS`] (`fuzz_targets/any.rs`), a debugger and the tests run
//! the same code.
//!
//! Beyond not panicking every target holds to [`oracle`]: little memory for little input, what was taken in survives the way
//! out and in again unchanged, and no refusal is long or steers a terminal.

mod control;
mod disk;
mod oracle;
mod peer;
mod registry;
mod summary;
mod text;
mod transfer;

/// Takes any bytes; panics when a promise is broken.
pub type Target = fn(&[u8]);

/// All targets, by the name of their corpus.
pub fn targets() -> impl Iterator<Item = (&'static str, Target)> {
    let all: [&[(&str, Target)]; 7] = [
        peer::TARGETS,
        transfer::TARGETS,
        registry::TARGETS,
        control::TARGETS,
        text::TARGETS,
        summary::TARGETS,
        disk::TARGETS,
    ];
    all.into_iter().flatten().copied()
}

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    targets().find(|(known, _)| *known == name).map(|(_, target)| target)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a finding is kept as a seed it stays mended.
    #[test]
    fn the_kept_corpora_pass() {
        for (name, target) in targets() {
            let folder = format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let seeds: Vec<_> = std::fs::read_dir(&folder).expect(&folder).collect();
            assert!(!seeds.is_empty(), "{folder}");
            for seed in seeds {
                target(&std::fs::read(seed.expect("an entry").path()).expect("a seed"));
            }
            target(&[]);
        }
    }
}
