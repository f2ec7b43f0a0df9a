//! The program as it is run: arguments in, lines and exit codes out, against a peer in memory behind a real socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/actions.rs"]
mod actions;

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use actions::{Double, offer};
use floodplain::{
    peer::control::{self, ControlSocket},
    shutdown::Shutdown,
};
use rustix::process::{Pid, Signal, kill_process};

/// The program in an empty folder, with nothing in its environment.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain"));
    command.env_clear().env("HOME", folder).current_dir(folder).arg("--data").arg(folder);
    command.stdin(Stdio::null());
    command
}

fn run(folder: &Path, line: &str) -> (i32, String, String) {
    let output = program(folder).args(line.split_whitespace()).output().unwrap();
    parts(&output)
}

fn parts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A peer in memory that is served like a real one.
struct Served {
    double: Arc<Double>,
    folder: tempfile::TempDir,
    shutdown: Shutdown,
}

impl Served {
    /// Spawns on the runtime it is called in.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (double, shutdown) = (Double::new(), Shutdown::new());
        let socket = ControlSocket::bind(&control::socket_path(folder.path())).unwrap();
        shutdown.spawn_draining("control", control::serve(double.clone(), socket, shutdown.clone()));
        Self { double, folder, shutdown }
    }

    async fn run(&self, line: &str) -> (i32, String, String) {
        let (folder, line) = (self.folder.path().to_owned(), line.to_owned());
        tokio::task::spawn_blocking(move || run(&folder, &line)).await.unwrap()
    }

    /// Runs with `--json` and gives the lines.
    async fn json(&self, line: &str) -> (i32, Vec<String>) {
        let (code, out, err) = self.run(&format!("--json {line}")).await;
        assert_eq!(err, "", "with --json everything is on stdout");
        (code, out.lines().map(str::to_owned).collect())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

fn digits(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

#[test]
fn help_and_version_are_done_and_nonsense_is_usage() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = run(folder.path(), "--help");
    assert_eq!(code, 0);
    for verb in ["demo", "registry", "peer", "console", "search", "get", "send", "browse", "peers", "zones"] {
        assert!(out.contains(&format!("\n  {verb} ")), "{verb} in {out}");
    }
    for verb in ["searches", "puts", "share", "transfers", "inbox", "status", "health", "completions", "man"]
    {
        assert!(out.contains(&format!("\n  {verb} ")), "{verb} in {out}");
    }
    assert!(out.contains("Exit codes: 0 done, 1 failed"));
    let (code, out, _) = run(folder.path(), "--version");
    assert_eq!((code, out.as_str()), (0, concat!("floodplain ", env!("CARGO_PKG_VERSION"), "\n")));

    for nonsense in [
        "",
        "serch x",
        "search",
        "search x --ttl 0",
        "search x --ttl 33",
        "search x --wait soon",
        "search x --limit 0",
        "search x --zones some",
        "search x --save ../x",
        "searches rm",
        "searches run a/b",
        "get ../x",
        "get 0",
        "get :x",
        "send",
        "send x --to zone:0",
        "browse :x",
        "peers --zone 0",
        "inbox accept x",
        "transfers cancel",
        "transfers pause 0",
        "transfers retry some",
        "transfers priority 1",
        "transfers priority 1 urgent",
        "get 1 --priority 1",
        "health --addr nowhere",
        "--timeout never status",
        "--json --plain status",
        "demo --peers 1",
        "completions klingon",
    ] {
        let (code, out, err) = run(folder.path(), nonsense);
        assert_eq!((code, out.as_str()), (2, ""), "{nonsense:?}: {err}");
        assert!(!err.is_empty());
    }
}

#[test]
fn completions_and_the_manual_are_written() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, mark) in
        [("bash", "_floodplain"), ("zsh", "#compdef floodplain"), ("fish", "complete -c floodplain")]
    {
        let (code, out, _) = run(folder.path(), &format!("completions {shell}"));
        assert!(code == 0 && out.contains(mark) && out.contains("transfers"), "{shell}");
    }
    let (code, out, _) = run(folder.path(), "man");
    assert!(code == 0 && out.contains(".TH floodplain 1") && out.contains("floodplain\\-search"), "{out}");
}

#[test]
fn a_bad_setting_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "FLOODPLAIN_LEASE=abc\n").unwrap();
    let (code, out, err) = run(folder.path(), "registry");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.starts_with("error: FLOODPLAIN_LEASE=abc: must be a duration such as 30s\n"), "{err}");
    assert!(
        run(folder.path(), "registry --lease 5")
            .2
            .starts_with("error: FLOODPLAIN_LEASE=5: must be a duration")
    );

    std::fs::write(folder.path().join(".env"), "FLOODPLAIN_REGISTERY=x\n").unwrap();
    for verb in ["registry", "peer", "status", "health"] {
        let (code, _, err) = run(folder.path(), verb);
        assert_eq!(code, 2, "{verb}");
        assert!(err.contains("the nearest is FLOODPLAIN_REGISTRY\n"), "{err}");
    }
    let (code, out, _) = run(folder.path(), "--json --env-file gone status");
    assert_eq!(code, 2);
    assert!(out.starts_with(r#"{"type":"error","code":"usage","message":"#) && out.contains("gone"), "{out}");
}

#[test]
fn without_a_running_peer_every_verb_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    for verb in [
        "status",
        "peers",
        "search x",
        "get 1",
        "share ls",
        "inbox",
        "transfers",
        "zones",
        "browse a",
        "puts",
    ] {
        let (code, out, err) = run(folder.path(), verb);
        assert_eq!((code, out.as_str()), (4, ""), "{verb}");
        assert!(err.contains("no peer runs at") && err.contains("floodplain peer"), "{err}");
    }
    let (code, _, err) = run(folder.path(), "health --addr 127.0.0.1:1");
    assert!(code == 4 && err.contains("127.0.0.1:1"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_are_exactly_these() {
    let served = Served::start();
    let (one, two) = (digits(1), digits(2));
    let holder = |name: &str, id: &str, hops: u8| {
        format!(r#"{{"peer":"{name}","peer_id":"{id}","zone":1,"hops":{hops},"queue_place":0}}"#)
    };
    let (ana, ben) = (holder("ana", &one, 1), holder("ben", &two, 2));
    assert_eq!(
        served.json("search report").await,
        (
            0,
            vec![
                format!(
                    r#"{{"type":"hit","number":1,"hash":"{one}","name":"report.pdf","path":"docs/report.pdf","size_bytes":1536,"have":false,"holders":[{ana},{ben}]}}"#
                ),
                format!(
                    r#"{{"type":"hit","number":2,"hash":"{two}","name":"b\u001b[2J.pdf","path":"docs/b\u001b[2J.pdf","size_bytes":3072,"have":true,"holders":[{ana}]}}"#
                ),
                r#"{"type":"done","answered":6,"asked":6,"unreachable":0,"duplicates":3,"ruled_out":0,"messages":5,"complete":true,"zones":[{"zone":1,"answered":6,"asked":6,"unreachable":0,"ruled_out":0,"complete":true}],"suggestions":[]}"#
                    .into(),
            ]
        )
    );
    assert_eq!(
        served.json("peers").await,
        (
            0,
            vec![
                format!(
                    r#"{{"type":"peer","name":"ana","peer_id":"{one}","zone":1,"address":"127.0.0.1:7001","shared_files":10}}"#
                ),
                format!(
                    r#"{{"type":"peer","name":"ben","peer_id":"{two}","zone":2,"address":"127.0.0.1:7002","shared_files":20}}"#
                ),
            ]
        )
    );
    let transfer = format!(
        r#"{{"type":"transfer","state":"done","path":"/srv/share/report.pdf","hash":"{one}","size_bytes":2048,"sources":["ana","ben"]}}"#
    );
    assert_eq!(served.json("--quiet get 1").await, (0, vec![transfer.clone()]));
    for (line, expected) in [
        ("zones", r#"{"type":"zone","zone":1,"peers":6,"gateways":["ana"]}"#.to_owned()),
        (
            "share add x",
            r#"{"type":"share","name":"docs","kind":"folder","is_removable":true,"folder":"/srv/docs","files":2,"size_bytes":4608,"problem":null}"#.into(),
        ),
        ("share rm docs", r#"{"type":"done"}"#.into()),
        ("share rescan", r#"{"type":"index","files":2,"size_bytes":4608,"hashed_files":1,"is_scanning":true}"#.into()),
        ("transfers cancel 2", r#"{"type":"done","count":1}"#.into()),

        ("inbox", r#"{"type":"inbox","folder":"/srv/inbox","policy":"ask"}"#.into()),
        (
            "status",
            format!(
                r#"{{"type":"status","name":"me","peer_id":"{}","zone":3,"address":"127.0.0.1:7003","connection":"connected","registry":"127.0.0.1:7000","zone_peers":6,"roster_revision":41,"neighbors":["ana","ben"],"files":2,"size_bytes":4608,"hashed_files":1,"is_scanning":true,"searches":7,"queries_answered":8,"duplicates_dropped":9,"queries_refused":1,"bytes_up":3145728,"bytes_down":512,"uptime_s":3661,"version":"0.1.0"}}"#,
                digits(3)
            ),
        ),
    ] {
        assert_eq!(served.json(line).await, (0, vec![expected]), "{line}");
    }
    let (code, lines) = served.json("transfers").await;
    assert_eq!((code, lines.len()), (0, 2));
    assert_eq!(
        lines[1],
        format!(
            r#"{{"type":"transfer","state":"running","path":null,"hash":"{one}","size_bytes":2048,"sources":["ana","ben"],"id":2,"direction":"download","name":"report.pdf","done_bytes":1024,"error":null,"hint":null,"priority":"normal","queue_position":null,"percent":50,"bytes_per_second":0,"eta_s":null,"note":null,"note_code":null,"hint_code":null}}"#
        )
    );
    assert_eq!(
        served.json("get 1 --detach").await.1,
        [lines[1].replace("running", "waiting").replace("\"id\":2", "\"id\":7")]
    );
    let (_, lines) = served.json("browse ana:docs").await;
    assert_eq!(lines[0], r#"{"type":"folder","name":"sub"}"#);
    assert_eq!(
        lines[2],
        format!(
            r#"{{"type":"file","hash":"{one}","name":"report.pdf","path":"docs/report.pdf","size_bytes":1536,"modified":"2023-11-14T22:13:20Z"}}"#
        )
    );
    assert!(lines[3].starts_with(r#"{"type":"file","hash":null,"name":"z.txt""#), "the second page follows");
    served.double.offer(offer(5));
    let (_, lines) = served.json("inbox").await;
    assert_eq!(
        lines[0],
        format!(
            r#"{{"type":"offer","id":5,"sender":"ben","sender_id":"{two}","is_confirmed":true,"name":"photo5.jpg","size_bytes":4096}}"#
        )
    );
    assert_eq!(
        served.json("--quiet get 3").await,
        (
            6,
            vec![
                r#"{"type":"error","code":"mismatch","message":"ben sent bytes that are not of this file","hint":"try another holder"}"#
                    .into()
            ]
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_tells_its_holders_and_an_unput_who_released_it() {
    let served = Served::start();
    let hash = digits(1);
    let kept = format!(
        r#"{{"type":"transfer","state":"done","path":null,"hash":"{hash}","size_bytes":2048,"sources":["ana","ben"]}}"#
    );
    assert_eq!(served.json("--quiet put --text hello").await, (0, vec![kept]));
    let listed = [
        format!(
            r#"{{"type":"put","hash":"{hash}","name":"kept 1\u202e.txt","size_bytes":2048,"replicas":2,"kept":2,"keepers":["ana","ben"],"put_time":"2023-11-14T22:13:20Z"}}"#
        ),
        format!(
            r#"{{"type":"put","hash":"{}","name":"kept 2\u202e.txt","size_bytes":2048,"replicas":2,"kept":null,"keepers":[],"put_time":null}}"#,
            digits(2)
        ),
    ];
    assert_eq!(served.json("puts").await, (0, listed.to_vec()));
    let released = format!(
        r#"{{"type":"unput","hash":"{hash}","name":"report.pdf","released_by":["ana"],"unreachable":["ben"]}}"#
    );
    assert_eq!(served.json("--quiet unput report.pdf").await, (7, vec![released]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_every_verb_is_told_by_its_exit_code() {
    let served = Served::start();
    std::fs::write(served.folder.path().join("a.txt"), "a").unwrap();
    for (line, code, said) in [
        ("search report", 0, "2 hits; 6 of 6 answered\n"),
        ("search missing", 3, "nothing found; 6 of 6 answered\n"),
        (
            "search bugdet",
            3,
            "answered\nno hit for \"bugdet\"; did you mean \"budget\" or \"b\\u{1b}[2J\"?\n",
        ),
        ("search broken", 3, "error: no peer is named ana\n"),
        ("search refused", 2, "error: the query has an open quote\n"),
        ("search slow --timeout 300ms", 7, "error: gave up after 300ms\n"),
        (
            "search report --save reports",
            0,
            "saved as reports; `floodplain searches watch` tells what is new\n2 hits",
        ),
        ("search report --save taken", 5, "error: another search is saved as `taken`\n"),
        ("searches", 0, ""),
        ("searches rm reports", 0, "reports is not asked any more\n"),
        ("searches rm none", 3, "error: no such search\n"),
        ("searches run reports", 0, "2 hits; 6 of 6 answered\n"),
        ("searches run none", 3, "error: no search is saved as `none`\n"),
        ("searches watch --timeout 300ms", 7, "error: gave up after 300ms\n"),
        ("get 1", 0, "2.0 KiB from ana, ben\n"),
        ("get 2 --timeout 300ms", 7, "error: gave up after 300ms\n"),
        ("get 3", 6, "hint: try another holder\n"),
        ("get 9", 3, "the last search has no hit 9\n"),
        ("get 1 -o gone/", 2, "gone/ is not a folder"),
        ("send a.txt --to ana", 0, "report.pdf to ana: done, 2.0 KiB\n"),
        ("send a.txt --to bob", 3, "error: no peer is named bob\n"),
        ("send b.txt --to ana", 2, "error: b.txt: "),
        ("send /dev/null --to ana", 2, "error: /dev/null: is neither a file nor a folder"),
        ("send a.txt --to all", 2, "hint: pass --yes to go ahead\n"),
        ("send a.txt --to all --yes", 7, "a.txt to ben: no peer is named ben"),
        ("send a.txt --to zone:1 --yes", 0, "report.pdf to ana: done"),
        ("send a.txt --to zone:9 --yes", 3, "there is nobody else to send to\n"),
        ("put a.txt", 0, "report.pdf, 2.0 KiB, kept by ana, ben\n"),
        ("put a.txt --replicas 3", 7, "2 of 3 replicas; more are made when other peers have room\n"),
        ("put --text hello", 0, "kept by ana, ben\n"),
        ("put b.txt", 2, "error: b.txt: "),
        ("put a.txt --replicas 17", 2, "17 is not in 1..=16"),
        ("unput report.pdf", 7, "could not be asked: ben; a copy there goes when they are back\n"),
        ("unput a.txt", 5, "error: this peer did not put `a.txt`\n"),
        ("share rm old", 3, "error: no such share\n"),
        ("peers --zone 1", 0, "the registry cannot be reached"),
        ("transfers cancel 3", 3, "error: no transfer 3\n"),
        ("transfers pause 2", 0, "transfer 2 is paused\n"),
        ("transfers retry all", 0, "transfers tried again: 2\n"),
        ("get 2 --detach", 0, "report.pdf is queued; see `floodplain transfers`\n"),
        ("get 9 --detach", 3, "the last search has no hit 9\n"),
        ("get 1 --detach -o -", 2, "--detach has no stdout"),
        ("inbox decline 9", 3, "error: no offer 9\n"),
        ("inbox trust 9", 2, "hint: pass --yes to go ahead\n"),
        ("browse bob", 3, "error: no peer is named bob\n"),
        ("browse panic", 1, "error: "),
        ("status", 0, ""),
        ("health --ready", 0, "control.sock: serving\n"),
    ] {
        let (ended, out, err) = served.run(line).await;
        assert_eq!(ended, code, "{line}: {out}{err}");
        assert!(err.contains(said), "{line}: {err}");
        assert!(
            !out.contains(['\u{1b}', '\u{202e}']) && !err.contains(['\u{1b}', '\u{202e}']),
            "{line}: {out}{err}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_is_what_is_asked() {
    let served = Served::start();
    served.double.offer(offer(5));
    for (line, call) in [
        (
            "search annual report --zones all --ttl 7 --wait 2s --limit 5",
            r#"search(SearchAsk { text: "annual report", scope: All, ttl: Some(7), wait: Some(2s), want: Some(5) })"#.to_owned(),
        ),
        (
            "search x",
            r#"search(SearchAsk { text: "x", scope: Mine, ttl: None, wait: None, want: None })"#.into(),
        ),
        (
            "searches run x.2",
            "search(SearchAsk { text: \"\\u{1b}[2J\", scope: All, ttl: None, wait: None, want: None })".into(),
        ),
        ("searches rm x.2", r#"remove_saved_search("x.2")"#.into()),
        (
            "get ana:docs/a.pdf",
            r#"get(GetAsk { target: Path(PeerPath { peer: "ana", path: "docs/a.pdf" }), destination: None, priority: Normal, is_detached: false })"#.into(),
        ),
        (
            "get 1 -o here.pdf",
            format!(r#"get(GetAsk {{ target: Hit(1), destination: Some("{}/here.pdf"), priority: Normal, is_detached: false }})"#, served.folder.path().display()),
        ),
        (
            "get 2 --detach --priority high",
            "get(GetAsk { target: Hit(2), destination: None, priority: High, is_detached: true })".into(),
        ),
        ("transfers pause 2", "control_transfers(One(2), Pause)".into()),
        ("transfers resume all", "control_transfers(All, Resume)".into()),
        ("transfers retry all", "control_transfers(All, Retry)".into()),
        ("transfers cancel all", "control_transfers(All, Cancel)".into()),
        ("transfers priority 2 low", "control_transfers(One(2), Priority(Low))".into()),
        ("share add docs", format!("add_share({}/docs)", served.folder.path().display())),
        ("inbox decline 5 --reason no", r#"answer_offer(5, Decline("no"))"#.into()),
    ] {
        served.run(line).await;
        assert_eq!(served.double.calls().last(), Some(&call), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_output_is_tab_separated_under_headings() {
    let served = Served::start();
    let (_, out, _) = served.run("peers").await;
    let expected = format!(
        "ZONE\tNAME\tADDRESS\tFILES\tPEER ID\n1\tana\t127.0.0.1:7001\t10\t{}\n2\tben\t127.0.0.1:7002\t20\t{}\n",
        digits(1),
        digits(2)
    );
    assert_eq!(out, expected);
    let (_, out, _) = served.run("zones").await;
    assert_eq!(out, "ZONE\tPEERS\tGATEWAYS\n1\t6\tana\n");
    let (_, out, _) = served.run("transfers").await;
    let expected = "ID\tDIRECTION\tDONE\tSIZE\tNAME\tPEERS\tSTATE\t%\tSPEED\tETA\tPRIORITY\tQUEUE\tHINT\tNOTE\n\
                    1\tdownload\t2048\t2048\treport.pdf\tana, ben\tdone\t100\t\t\tnormal\t\t\t\n\
                    2\tdownload\t1024\t2048\treport.pdf\tana, ben\trunning\t50\t\t\tnormal\t\t\t\n";
    assert_eq!(out, expected);
    let (_, out, _) = served.run("search report").await;
    let line = format!("2\tdocs/b\\u{{1b}}[2J.pdf\t3072\t{}\tana (zone 1, 1 hop)\there already", digits(2));
    assert_eq!(out.lines().nth(1), Some(line.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_are_printed_best_first_or_with_json_as_they_come() {
    let served = Served::start();
    let (_, plain, _) = served.run("search worse first").await;
    let plain: Vec<&str> = plain.lines().collect();
    assert_eq!(plain.len(), 2, "one content, one row: {plain:?}");
    assert!(
        plain[0].starts_with("2\tdocs/report.pdf\t")
            && plain[0].contains("\tana (zone 1, 1 hop), ben (zone 1, 2 hops)\t")
    );
    assert!(plain[1].starts_with("1\tdocs/b"));
    let (_, json) = served.json("search worse first").await;
    let are_better: Vec<bool> = json.iter().map(|line| line.contains(r#""size_bytes":1536"#)).collect();
    assert_eq!(are_better, [false, true, true, false], "{json:?}");
    let (_, bugdet) = served.json("search bugdet").await;
    assert!(bugdet[0].ends_with(r#""suggestions":["budget","b\u001b[2J"]}"#), "{bugdet:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_searches_are_saved_first_listed_and_watched() {
    let served = Served::start();
    served.json("search annual report --zones all --limit 1 --save new").await;
    let calls = served.double.calls();
    assert_eq!(calls[0], r#"save_search(SaveAsk { name: "new", text: "annual report", scope: All })"#);
    assert!(calls[1].starts_with(r#"search(SearchAsk { text: "annual report", scope: All,"#), "{calls:?}");

    let (_, searches) = served.json("searches ls").await;
    assert_eq!(
        searches,
        [
            r#"{"type":"search","name":"reports","query":"report newer:7d","zones":"mine","known_hits":7,"new_hits":1,"dropped_hits":0,"last_run":"2023-11-14T22:13:20Z","problem":null}"#,
            r#"{"type":"search","name":"x.2","query":"\u001b[2J","zones":"all","known_hits":7,"new_hits":1,"dropped_hits":0,"last_run":null,"problem":"this peer has not joined a zone"}"#,
        ]
    );
    let (_, plain, _) = served.run("searches").await;
    assert_eq!(plain.lines().next(), Some("NAME\tQUERY\tZONES\tKNOWN\tNEW\tLAST RUN\tPROBLEM"));

    served.double.finds(actions::new_hit(1));
    served.double.finds(actions::new_hit(2));
    let (_, news) = served.json("searches watch --timeout 3s").await;
    let (one, two) = (digits(1), digits(2));
    let line = |hash: &str, name: &str, size: u32| {
        format!(
            r#"{{"type":"new_hit","search":"reports","hash":"{hash}","name":"{name}","path":"docs/{name}","size_bytes":{size},"peers":["ana","ben"],"found":"2023-11-14T22:13:20Z"}}"#
        )
    };
    assert_eq!(news[..2], [line(&one, "report.pdf", 1536), line(&two, r"b\u001b[2J.pdf", 3072)]);
    served.double.finds(actions::new_hit(2));
    let (_, plain, _) = served.run("searches watch --timeout 3s").await;
    assert_eq!(plain, format!("reports\tdocs/b\\u{{1b}}[2J.pdf\t3072\t{two}\tana, ben\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_leaves_the_data_and_the_errors() {
    let served = Served::start();
    let (_, out, err) = served.run("-q get 1").await;
    assert_eq!((out.as_str(), err.as_str()), ("/srv/share/report.pdf\n", ""));
    assert!(served.run("-q search broken").await.2.starts_with("error: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_the_program_quietly() {
    let served = Served::start();
    for line in
        [&["search", "report"][..], &["--json", "peers"], &["man"], &["completions", "bash"], &["--help"]]
    {
        let mut command = program(served.folder.path());
        let mut child = command.args(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(!err.contains("panicked") && !err.contains("Broken pipe"), "{line:?}: {err}");
        assert_eq!(ended.status.code(), Some(0), "{line:?}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_cancels_what_was_asked_and_exits_130() {
    let served = Served::start();
    let mut command = program(served.folder.path());
    let mut child = command
        .args(["--json", "search", "slow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let ended = tokio::task::spawn_blocking(move || {
        let mut hit = String::new();
        lines.read_line(&mut hit).unwrap();
        assert!(hit.starts_with(r#"{"type":"hit""#), "a hit is printed when it comes: {hit}");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        (child.wait().unwrap(), rest)
    });
    let (status, rest) = ended.await.unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(
        rest,
        "{\"type\":\"error\",\"code\":\"cancelled\",\"message\":\"interrupted\",\"hint\":\"\"}\n"
    );
    served.double.cancelled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_put_leaves_nothing_of_what_came_in_on_stdin() {
    let served = Served::start();
    let spools = tempfile::tempdir().unwrap();
    let mut command = program(served.folder.path());
    command.env("TMPDIR", spools.path()).args(["put", "-"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let names = || std::fs::read_dir(spools.path()).unwrap().count();
    tokio::task::block_in_place(|| {
        // It stays open: there is more to come.
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&vec![b'x'; 1 << 20]).unwrap();
        until("it is spooled", || names() == 1);
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
    });
    assert_eq!(names(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_keeps_nobody_from_ending_a_get() {
    let served = Served::start();
    let mut command = program(served.folder.path());
    command.args(["get", &digits(9), "-o", "-"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    tokio::task::block_in_place(|| {
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0; 1];
        stdout.read_exact(&mut first).unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        until("it ends", || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(130));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_no_part_of_the_bytes_of_a_file() {
    let served = Served::start();
    let (code, out, err) = served.run("--json get ana:docs/none -o -").await;
    assert!(code != 0 && out.is_empty(), "{out}");
    assert!(err.lines().last().unwrap().starts_with(r#"{"type":"error","code":"#), "{err}");
    let nobody = tempfile::tempdir().unwrap();
    let (code, out, err) = run(nobody.path(), "--json get 1 -o -");
    assert!(code != 0 && out.is_empty() && err.contains(r#""type":"error""#), "{out}{err}");
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
