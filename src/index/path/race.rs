//! Opens while another thread swaps what lies on the path with links that lead out of the share.

use std::{
    io::Read,
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use rustix::fs::{RenameFlags, renameat_with};

use super::*;

/// Of each way to open, over both places that are swapped.
const OPENS: usize = 10_000;
const INSIDE: &str = "of the share";

/// Swaps two names in one step, again and again, and reports how often.
fn swap(at: &Path, one: &str, other: &str, is_over: &AtomicBool) -> usize {
    let folder = open(at, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mut swaps = 0;
    while !is_over.load(Relaxed) {
        renameat_with(&folder, one, &folder, other, RenameFlags::EXCHANGE).unwrap();
        swaps += 1;
    }
    swaps
}

/// What a way to open gave: how often, and whether anything of it was not of the share.
fn opened(relative: &str, open: &dyn Fn(&str) -> Option<File>) -> usize {
    let mut count = 0;
    for _ in 0..OPENS / 2 {
        if let Some(mut file) = open(relative) {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, INSIDE, "{relative}");
            count += 1;
        }
    }
    count
}

#[test]
fn no_open_of_forty_thousand_leads_out_of_a_share_whose_folders_are_swapped_with_links() {
    let outside = tempfile::tempdir().unwrap();
    let share = outside.path().join("share");
    std::fs::create_dir_all(share.join("folder")).unwrap();
    std::fs::write(outside.path().join("secret"), "a secret").unwrap();
    std::fs::write(share.join("folder/secret"), INSIDE).unwrap();
    std::fs::write(share.join("file"), INSIDE).unwrap();
    symlink("..", share.join("folder link")).unwrap();
    symlink("../secret", share.join("file link")).unwrap();
    let is_over = AtomicBool::new(false);
    let by_steps = |relative: &str| {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let root = open(&share, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        open_by_steps(root, relative, flags).ok().map(File::from)
    };
    let beneath = |relative: &str| {
        // As for a path of which one call alone does not decide.
        let root = open(&share, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat2(&root, relative, flags, Mode::empty(), rules).ok().map(File::from)
    };
    let regular = |relative: &str| open_regular(&share, relative).ok().map(|(file, _)| file);
    let cached = |relative: &str| open_cached(&share, relative).map(|(file, _)| file);
    let ways: [&Way<'_>; 4] = [&regular, &cached, &by_steps, &beneath];
    let (opens, swaps) = std::thread::scope(|scope| {
        let folders = scope.spawn(|| swap(&share, "folder", "folder link", &is_over));
        let files = scope.spawn(|| swap(&share, "file", "file link", &is_over));
        let over = Over(&is_over);
        let opens: Vec<usize> = ways
            .into_iter()
            .map(|way| ["folder/secret", "file"].into_iter().map(|relative| opened(relative, way)).sum())
            .collect();
        drop(over);
        (opens, folders.join().unwrap() + files.join().unwrap())
    });
    // Both were hit often enough that a way which follows links would have been seen to.
    assert!(swaps > 1000, "{swaps}");
    assert!(opens[0] > 100 && opens[2] > 100, "{opens:?}");
}

type Way<'a> = dyn Fn(&str) -> Option<File> + 'a;

/// Ends the swaps even when an open has failed the test.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
