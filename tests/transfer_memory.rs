//! The memory of a download, alone in its process: nothing else counts towards the peak.

#[path = "transfer/peer.rs"]
#[allow(dead_code, reason = "shared with the other tests of transfers")]
mod peer;
#[path = "support/stand_in.rs"]
mod stand_in;

use std::fs;

use floodplain::protocol::plan::FileName;
use peer::{Answers, TestPeer};

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_mebibytes_arrive_equal_in_flat_memory() {
    let ana = TestPeer::start("ana", Answers::Fast).await;
    let ben = TestPeer::start("ben", Answers::Fast).await;
    let size = 300usize << 20;
    let path = ana.share_path("large.bin");
    let file = fs::File::create(&path).expect("creates");
    file.set_len(size as u64).expect("grows");
    for offset in (0..size as u64).step_by(7 << 20) {
        std::os::unix::fs::FileExt::write_at(&file, &offset.to_le_bytes(), offset).expect("writes");
    }
    let got = ben.get(FileName::Path("share/large.bin".into()), &[&ana]).await.expect("arrives");
    let copy = got.path.expect("published");
    assert_eq!(fs::metadata(&copy).expect("metadata").len(), size as u64);
    let hash = |path| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(fs::File::open(path).expect("opens")).expect("reads");
        hasher.finalize()
    };
    assert_eq!(hash(&copy), hash(&path));
    assert_eq!(ben.transfers.bytes_down(), size as u64);
    // It was asked for a tree first, which may have brought up to a piece on its way.
    assert!(ana.transfers.bytes_up() <= (size + (1 << 20)) as u64);
    let status = fs::read_to_string("/proc/self/status").expect("reads");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("told");
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak_kib < 96 << 10, "both ends took {peak_kib} KiB in one process");
}
