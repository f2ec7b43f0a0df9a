//! The most memory that a holder and a getter ever had, as daemons: files of several sizes, and many transfers at once.
//!
//! Files are sparse at the holder: what is measured is what the daemons keep, not what the file system does.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

use crate::{
    daemon::Daemon,
    holders::{ask, floodplain, number_at, peak_mib, until},
};

/// Both are what the goal asks of either end.
const SIZES_MIB: [u64; 3] = [1, 1 << 10, 8 << 10];
const AT_ONCE: usize = 32;
/// Long enough that the first is not through before the last begins.
const EACH_MIB: u64 = 128;

/// Blocks: there is nothing else to do meanwhile.
pub(crate) fn run(folder: &Path) -> Result<()> {
    println!("most MiB of memory that each daemon ever had, hashing of the share included");
    println!("| transfers | size, MiB | running at once | serving MiB | getting MiB |");
    println!("|---:|---:|---:|---:|---:|");
    for size_mib in SIZES_MIB {
        transfer(folder, 1, size_mib)?;
    }
    transfer(folder, AT_ONCE, EACH_MIB)
}

fn transfer(folder: &Path, count: usize, size_mib: u64) -> Result<()> {
    let home = tempfile::tempdir_in(folder)?;
    let registry = Daemon::registry(&home.path().join("registry"), &[])?;
    let (holding, getting) = (home.path().join("holder"), home.path().join("getter"));
    let hashes = share(&holding.join("share"), count, size_mib << 20)?;
    fs::create_dir_all(getting.join("share"))?;
    // One fetcher has half of a peer's slots at most.
    let slots = (2 * count).max(8).to_string();
    let settings = [("FLOODPLAIN_UPLOAD_SLOTS", slots.as_str())];
    let holder = Daemon::peer_with(&holding, registry.address, "holder", &settings)?;
    until(|| Ok(number_at(&ask(&holder, &["status"])?, "hashed_files") >= count as u64))?;
    let slots = count.max(4).to_string();
    let settings = [("FLOODPLAIN_DOWNLOAD_SLOTS", slots.as_str())];
    let getter = Daemon::peer_with(&getting, registry.address, "getter", &settings)?;

    let mut copies: Vec<PathBuf> = Vec::new();
    for (number, hash) in hashes.iter().enumerate() {
        let copy = home.path().join(format!("copy{number}"));
        let taken = floodplain(&getter.data, &["get", hash, "--detach", "-o"]).arg(&copy).output()?;
        ensure!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
        copies.push(copy);
    }
    let mut most_at_once = 0;
    until(|| {
        let lines = ask(&getter, &["transfers"])?;
        let running = lines.iter().filter(|line| line.to_string().contains("\"running\"")).count();
        most_at_once = most_at_once.max(running);
        Ok(copies.iter().all(|copy| copy.exists()))
    })?;
    for copy in &copies {
        ensure!(fs::metadata(copy)?.len() == size_mib << 20, "a copy is not whole");
    }
    let (serving_mib, getting_mib) = (peak_mib(holder.pid()), peak_mib(getter.pid()));
    println!("| {count} | {size_mib} | {most_at_once} | {serving_mib:.1} | {getting_mib:.1} |");
    Ok(())
}

/// Sparse files that differ in their first bytes, and their hashes.
fn share(folder: &Path, count: usize, size_bytes: u64) -> Result<Vec<String>> {
    fs::create_dir_all(folder)?;
    let zeros = vec![0; 1 << 20];
    let mut hashes = Vec::new();
    for number in 0..count {
        let file = fs::File::create(folder.join(format!("file{number}")))?;
        file.set_len(size_bytes)?;
        let first = (number as u64 + 1).to_le_bytes();
        file.write_all_at(&first, 0)?;
        let mut content = blake3::Hasher::new();
        content.update(&first);
        let mut left = size_bytes - first.len() as u64;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
            content.update(&zeros[..now]);
            left -= now as u64;
        }
        hashes.push(content.finalize().to_hex().to_string());
    }
    Ok(hashes)
}
