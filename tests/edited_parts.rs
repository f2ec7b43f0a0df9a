//! What lies under the name of a part when a get begins is worth its right pieces and nothing else, whoever put it there:
//! the file arrives exact, nothing else is written to, and only what is wrong is fetched.

#[path = "support/processes.rs"]
mod processes;

use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use floodplain::{protocol::id::ContentHash, store::pieces::part_path};

use self::processes::{Daemon, ask, home, logged, run, status, until};

const PIECE_BYTES: usize = 1 << 20;
/// Five pieces, the last one short.
const SIZE_BYTES: usize = 4 * PIECE_BYTES + 70_001;
const NAME: &str = "film.mkv";

fn content(key: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; SIZE_BYTES];
    blake3::Hasher::new().update(key).finalize_xof().fill(&mut bytes);
    bytes
}

/// What is done to a part that is whole.
type Edit = fn(&mut Vec<u8>);

struct Net {
    folder: tempfile::TempDir,
    content: Vec<u8>,
    hash: ContentHash,
    fetcher: PathBuf,
    _daemons: [Daemon; 3],
}

impl Net {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let registry = Daemon::registry(&folder.path().join("hub"), "127.0.0.1:0");
        let [holder, fetcher] =
            ["ana", "ben"].map(|name| home(&folder.path().join(name), &registry.address, ""));
        let content = content(b"film");
        fs::write(holder.join("share").join(NAME), &content).expect("writes");
        let peers = [("ana", &holder), ("ben", &fetcher)];
        let [ana, ben] = peers.map(|(name, home)| Daemon::start(home, &["peer", "--name", name]));
        until(&holder, "--json status", "\"hashed_files\":1");
        let hash = ContentHash::from_bytes(*blake3::hash(&content).as_bytes());
        // By its own roster: the registry lists a peer a moment earlier.
        until(&fetcher, &format!("--json search hash:{hash}"), "\"peer\":\"ana\"");
        Self { folder, content, hash, fetcher, _daemons: [registry, ana, ben] }
    }

    /// Puts something under the name of a part in a folder of its own and gets the file there. Gives the bytes that came.
    fn get_over(&self, kind: &str, put: impl FnOnce(&Path)) -> u64 {
        let out = self.folder.path().join(kind.replace(' ', "-"));
        fs::create_dir(&out).expect("makes");
        put(&part_path(&out, &self.hash, NAME));
        self.get(kind, &out)
    }

    fn get(&self, kind: &str, out: &Path) -> u64 {
        let before = status(&self.fetcher, "bytes_down");
        let line = format!("get {} -o {}", self.hash, out.display());
        assert_eq!(run(&self.fetcher, &line).0, 0, "{kind}: {}", logged(&self.fetcher));
        assert!(fs::read(out.join(NAME)).expect("is there") == self.content, "{kind}: a wrong file");
        assert_eq!(fs::read_dir(out).expect("lists").count(), 1, "{kind}: something is left");
        status(&self.fetcher, "bytes_down") - before
    }
}

#[test]
fn an_edited_part_costs_the_pieces_that_are_wrong() {
    const PIECE: u64 = PIECE_BYTES as u64;
    let net = Net::new();
    let tail = SIZE_BYTES as u64 % PIECE;
    // The proof of the size, when no part of that size is there: the first piece and the last.
    let proof = PIECE + tail;
    let edits: [(&str, Edit, u64); 9] = [
        ("whole", |_| {}, 0),
        ("one byte edited", |bytes| bytes[2 * PIECE_BYTES + 17] ^= 1, PIECE),
        ("a piece zeroed", |bytes| bytes[PIECE_BYTES..2 * PIECE_BYTES].fill(0), PIECE),
        ("the last piece zeroed", |bytes| bytes[4 * PIECE_BYTES..].fill(0), tail),
        ("pieces swapped", |bytes| bytes[..2 * PIECE_BYTES].rotate_left(PIECE_BYTES), 2 * PIECE),
        ("torn", |bytes| bytes.truncate(3 * PIECE_BYTES + 5), PIECE + proof),
        ("extended", |bytes| bytes.resize(bytes.len() + 3 * PIECE_BYTES, 7), proof),
        ("empty", Vec::clear, SIZE_BYTES as u64),
        ("of another file", |bytes| *bytes = content(b"other"), SIZE_BYTES as u64),
    ];
    for (kind, edit, most) in edits {
        let came = net.get_over(kind, |part| {
            let mut bytes = net.content.clone();
            edit(&mut bytes);
            fs::write(part, bytes).expect("writes");
        });
        assert!(came <= most, "{kind}: {came} bytes came, {most} were wrong");
    }
}

#[test]
fn what_is_no_part_is_replaced_and_what_it_leads_to_is_not_touched() {
    let net = Net::new();
    let precious = net.folder.path().join("precious");
    // Right bytes, as they would invite to be believed and published.
    fs::write(&precious, &net.content).expect("writes");
    let wrong = net.folder.path().join("wrong");
    fs::write(&wrong, b"wrong").expect("writes");
    net.get_over("link", |part| symlink(&precious, part).expect("links"));
    net.get_over("link to wrong bytes", |part| symlink(&wrong, part).expect("links"));
    net.get_over("dead link", |part| symlink("nowhere", part).expect("links"));
    net.get_over("link to itself", |part| symlink(part, part).expect("links"));
    net.get_over("link to a folder", |part| symlink(net.folder.path(), part).expect("links"));
    net.get_over("other name", |part| fs::hard_link(&precious, part).expect("links"));
    net.get_over("other name of wrong bytes", |part| fs::hard_link(&wrong, part).expect("links"));
    net.get_over("pipe", |part| {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, part, rustix::fs::FileType::Fifo, mode, 0).expect("makes");
    });
    net.get_over("socket", |part| {
        drop(std::os::unix::net::UnixListener::bind(part).expect("binds"));
    });
    for mode in [0o000, 0o444] {
        net.get_over(&format!("mode {mode}"), |part| {
            fs::write(part, &net.content[..PIECE_BYTES]).expect("writes");
            fs::set_permissions(part, fs::Permissions::from_mode(mode)).expect("sets");
        });
    }
    assert!(fs::read(&precious).expect("is there") == net.content);
    assert_eq!(fs::read(&wrong).expect("is there"), b"wrong");
    assert_eq!(fs::metadata(&precious).expect("is there").permissions().mode() & 0o777, 0o644);
}

#[test]
fn a_folder_in_the_place_of_the_part_is_told_and_gone_on_with_when_it_is_away() {
    let net = Net::new();
    let out = net.folder.path().join("out");
    let part = part_path(&out, &net.hash, NAME);
    fs::create_dir_all(part.join("inner")).expect("makes");
    let got = ask(&net.fetcher, &["get", &net.hash.to_string(), "-o", &out.to_string_lossy()]);
    let said = String::from_utf8_lossy(&got.stderr);
    assert_eq!(got.status.code(), Some(1), "{said}");
    assert!(said.contains(".fp-part"), "{said}");
    assert!(part.join("inner").is_dir() && !out.join(NAME).exists());
    fs::remove_dir_all(&part).expect("removes");
    assert_eq!(run(&net.fetcher, "transfers retry all").0, 0);
    until(&net.fetcher, "--json transfers", "\"state\":\"done\"");
    assert!(fs::read(out.join(NAME)).expect("is there") == net.content);
    assert_eq!(fs::read_dir(&out).expect("lists").count(), 1);
}

#[test]
fn a_part_that_is_edited_while_the_file_arrives_never_makes_a_wrong_file() {
    let net = Net::new();
    let env = fs::read_to_string(net.fetcher.join(".env")).expect("reads");
    // Slow enough for the edits to fall between the pieces.
    let slow = home(&net.folder.path().join("eva"), "127.0.0.1:1", "");
    fs::write(slow.join(".env"), format!("{env}FLOODPLAIN_DOWNLOAD_LIMIT=1MiB\n")).expect("writes");
    let _eva = Daemon::start(&slow, &["peer", "--name", "eva"]);
    until(&slow, &format!("--json search hash:{}", net.hash), "\"peer\":\"ana\"");
    let out = net.folder.path().join("out");
    fs::create_dir(&out).expect("makes");
    let part = part_path(&out, &net.hash, NAME);
    let line = format!("get --detach {} -o {}", net.hash, out.display());
    assert_eq!(run(&slow, &line).0, 0, "{}", logged(&slow));
    let mut edits = 0_u64;
    processes::wait_for(
        "it has ended",
        || {
            let transfers = processes::json(&slow, "transfers");
            let Some(transfer) = transfers.first() else { return false };
            // Long before the end: an edit of a file that has its name already would be nobody's fault here.
            let arrived = transfer["done_bytes"].as_u64().expect("a number").min(PIECE_BYTES as u64 * 3);
            // A few only: who writes on and on keeps the file from ever being whole.
            if edits < 10
                && arrived < PIECE_BYTES as u64 * 3
                && arrived > 6
                && let Ok(file) = fs::File::options().write(true).open(&part)
            {
                file.write_all_at(b"edited", edits * 77_777 % (arrived - 6)).expect("writes");
                edits += 1;
            }
            transfer["state"] == "done" || transfer["state"] == "failed"
        },
        || logged(&slow),
    );
    assert!(edits > 0, "{edits} edits");
    if let Ok(found) = fs::read(out.join(NAME)) {
        assert!(found == net.content, "a wrong file");
        return;
    }
    let (_, told) = run(&slow, "--json transfers");
    assert!(told.contains("\"state\":\"failed\""), "{told}");
    assert_eq!(run(&slow, "transfers retry all").0, 0);
    until(&slow, "--json transfers", "\"state\":\"done\"");
    assert!(fs::read(out.join(NAME)).expect("is there") == net.content, "a wrong file");
}
