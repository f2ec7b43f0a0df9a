use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::protocol::{action::AcceptPolicy, bucket::RateLimits, zone::Layout};

fn environment(pairs: &[(&str, &str)]) -> Sources {
    let pairs = pairs.iter().chain(&[("FLOODPLAIN_DATA", "/data")]);
    let environment = pairs.map(|(name, value)| (name.into(), value.into())).collect();
    Sources { environment, folder: "/nowhere".into(), ..Sources::default() }
}

fn registry(pairs: &[(&str, &str)]) -> Result<RegistrySettings, String> {
    Raw::read(&environment(pairs))
        .and_then(|raw| RegistrySettings::from_raw(&raw))
        .map_err(|error| error.to_string())
}

fn peer(pairs: &[(&str, &str)]) -> Result<PeerSettings, String> {
    Raw::read(&environment(pairs))
        .and_then(|raw| PeerSettings::from_raw(&raw))
        .map_err(|error| error.to_string())
}

fn log(pairs: &[(&str, &str)]) -> Result<LogSettings, String> {
    Raw::read(&environment(pairs))
        .and_then(|raw| LogSettings::from_raw(&raw))
        .map_err(|error| error.to_string())
}

fn in_folder(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), text).unwrap();
    let sources = Sources { folder: folder.path().into(), ..environment(&[]) };
    (folder, sources)
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn defaults_are_those_of_the_design() {
    let registry = registry(&[]).unwrap();
    assert_eq!(
        registry,
        RegistrySettings {
            listen: at("127.0.0.1:7000"),
            advertise: None,
            invite_file: None,
            layout: Layout::Elastic { min: 6, target: 16, max: 24 },
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            data: "/data".into(),
            http: HttpSettings { listen: Some(at("127.0.0.1:7070")), is_default: true, hosts: Vec::new() },
            insecure_loopback: false,
        }
    );
    let peer = peer(&[]).unwrap();
    assert_eq!(
        peer,
        PeerSettings {
            registry: "127.0.0.1:7000".into(),
            is_registry_default: true,
            invite: None,
            invite_file: None,
            name: peer.name.clone(),
            is_name_default: true,
            listen: at("127.0.0.1:7001"),
            advertise: None,
            http: HttpSettings { listen: Some(at("127.0.0.1:7080")), is_default: true, hosts: Vec::new() },
            shares: vec!["/nowhere/share".into()],
            inbox: "/nowhere/inbox".into(),
            data: "/data".into(),
            ttl: 16,
            search_timeout: Duration::from_secs(3),
            saved_search_every: Duration::from_secs(300),
            query_cache: 10_000,
            upload_slots: 8,
            download_slots: 4,
            upload_limits: RateLimits { whole: 0, per_peer: 0 },
            download_limits: RateLimits { whole: 0, per_peer: 0 },
            accept: AcceptPolicy::Ask,
            replica_space: 1 << 30,
            replica_grace: Duration::from_secs(300),
            insecure_loopback: false,
        }
    );
    assert_ne!(registry.listen, peer.listen);
    let log = log(&[]).unwrap();
    assert_eq!((log.filter.as_str(), log.is_filter_set, log.format), ("info", false, LogFormat::Text));
}

#[test]
fn an_invite_is_read_and_never_shown() {
    let secret = "abcdefghijklmnopqrstuvwxyy";
    let good = format!("fp1:lab:7000/{}/{secret}", "a".repeat(52));
    let read = peer(&[("FLOODPLAIN_INVITE", &good)]).unwrap();
    assert_eq!(read.invite.as_ref().unwrap().to_string(), good);
    assert!(!format!("{read:?}").contains(secret), "{read:?}");
    assert!(read.is_registry_default, "the invite names the registry");
    let error = peer(&[("FLOODPLAIN_INVITE", &format!("{good}x"))]).unwrap_err();
    assert!(error.starts_with("FLOODPLAIN_INVITE=(not shown): is not an invite"), "{error}");
    assert!(!error.contains(secret), "{error}");
    for text in [format!("FLOODPLAIN_INVITE={good} {good}\n"), format!("FLOODPLAIN_INVITE {good}\n")] {
        let (_folder, sources) = in_folder(&text);
        let error = Raw::read(&sources).unwrap_err().to_string();
        assert!(!error.contains(secret), "{error}");
    }
    let file = [("FLOODPLAIN_INVITE_FILE", "network/invite"), ("FLOODPLAIN_REGISTRY_ADVERTISE", "lab:7000")];
    assert_eq!(peer(&file).unwrap().invite_file, Some("/nowhere/network/invite".into()));
    let registry = registry(&file).unwrap();
    assert_eq!(registry.invite_file, Some("/nowhere/network/invite".into()));
    assert_eq!(registry.advertise.as_deref(), Some("lab:7000"));
}

#[test]
fn a_default_of_a_verb_stands_behind_every_setting() {
    let listen = |pairs: &[(&str, &str)]| {
        let mut raw = Raw::read(&environment(pairs)).unwrap();
        raw.set_default(table::LISTEN, "0.0.0.0:7001");
        PeerSettings::from_raw(&raw).unwrap().listen
    };
    assert_eq!(listen(&[]), at("0.0.0.0:7001"));
    assert_eq!(listen(&[("FLOODPLAIN_LISTEN", "127.0.0.1:9")]), at("127.0.0.1:9"));
}

#[test]
fn every_good_value_of_a_registry_is_taken() {
    let one = |name: &str, value: &str| registry(&[(name, value)]).unwrap();
    assert_eq!(one("FLOODPLAIN_REGISTRY_LISTEN", "[::1]:0").listen, at("[::1]:0"));
    assert_eq!(one("FLOODPLAIN_REGISTRY_LISTEN", "localhost:9").listen, at("127.0.0.1:9"));
    assert_eq!(one("FLOODPLAIN_LEASE", "1m 30s").lease, Duration::from_secs(90));
    assert_eq!(one("FLOODPLAIN_HEARTBEAT", "500ms").heartbeat, Duration::from_millis(500));
    assert!(one("FLOODPLAIN_INSECURE_LOOPBACK", "true").insecure_loopback);
    let zones = [("FLOODPLAIN_ZONE_MIN", "1"), ("FLOODPLAIN_ZONE_TARGET", "2"), ("FLOODPLAIN_ZONE_MAX", "3")];
    assert_eq!(registry(&zones).unwrap().layout, Layout::Elastic { min: 1, target: 2, max: 3 });
    for (size, zones, zone_size) in [("12", "2", 6), ("5", "5", 1), ("1", "1", 1), ("100000", "10", 10_000)] {
        let fixed = registry(&[("FLOODPLAIN_NETWORK_SIZE", size), ("FLOODPLAIN_NUMBER_OF_ZONES", zones)]);
        assert_eq!(fixed.unwrap().layout, Layout::Fixed { zones: zones.parse().unwrap(), zone_size });
    }
}

#[test]
fn a_short_lease_takes_the_default_heartbeat_down_with_it() {
    let settings = registry(&[("FLOODPLAIN_LEASE", "6s")]).unwrap();
    assert_eq!(settings.heartbeat, Duration::from_secs(2));
}

#[test]
fn every_good_value_of_a_peer_is_taken() {
    let one = |name: &str, value: &str| peer(&[(name, value)]).unwrap();
    for registry in ["registry.lan:7000", "localhost:1", "10.0.0.5:65535", "[::1]:7000", "my_registry:7000"] {
        assert_eq!(one("FLOODPLAIN_REGISTRY", registry).registry, registry);
    }
    let named = one("FLOODPLAIN_NAME", "ana");
    assert_eq!((named.name.as_str(), named.is_name_default), ("ana", false));
    assert_eq!(one("FLOODPLAIN_LISTEN", "0.0.0.0:7001").advertise, None);
    assert_eq!(one("FLOODPLAIN_ADVERTISE", "10.0.0.5:7001").advertise, Some(at("10.0.0.5:7001")));
    let http = one("FLOODPLAIN_HTTP_LISTEN", "127.0.0.1:80").http;
    assert_eq!((http.listen, http.is_default), (Some(at("127.0.0.1:80")), false));
    assert_eq!(one("FLOODPLAIN_HTTP_LISTEN", "off").http.listen, None);
    let hosts = one("FLOODPLAIN_HTTP_HOSTS", "Files.example.org, [::1],10.0.0.5").http.hosts;
    assert_eq!(hosts, ["files.example.org", "[::1]", "10.0.0.5"]);
    let shares = one("FLOODPLAIN_SHARES", "./a:/b/c").shares;
    assert_eq!(shares, ["/nowhere/a", "/b/c"].map(PathBuf::from));
    assert_eq!(one("FLOODPLAIN_INBOX", "in").inbox, Path::new("/nowhere/in"));
    assert_eq!(one("FLOODPLAIN_DATA", "state").data, Path::new("/data"), "the later of two wins");
    assert_eq!(one("FLOODPLAIN_TTL", "32").ttl, 32);
    assert_eq!(one("FLOODPLAIN_SEARCH_TIMEOUT", "60s").search_timeout, Duration::from_secs(60));
    assert_eq!(one("FLOODPLAIN_QUERY_CACHE", "100").query_cache, 100);
    assert_eq!(one("FLOODPLAIN_UPLOAD_SLOTS", "256").upload_slots, 256);
    assert_eq!(one("FLOODPLAIN_DOWNLOAD_SLOTS", "1").download_slots, 1);
    for (text, rate) in
        [("0", 0), ("64KB", 64_000), ("5MB", 5_000_000), ("5MB/s", 5_000_000), ("1GiB", 1 << 30)]
    {
        let whole = RateLimits { whole: rate, per_peer: 0 };
        let per_peer = RateLimits { whole: 0, per_peer: rate };
        assert_eq!(one("FLOODPLAIN_UPLOAD_LIMIT", text).upload_limits, whole);
        assert_eq!(one("FLOODPLAIN_DOWNLOAD_LIMIT", text).download_limits, whole);
        assert_eq!(one("FLOODPLAIN_PEER_UPLOAD_LIMIT", text).upload_limits, per_peer);
        assert_eq!(one("FLOODPLAIN_PEER_DOWNLOAD_LIMIT", text).download_limits, per_peer);
    }
    assert_eq!(one("FLOODPLAIN_ACCEPT", "trusted").accept, AcceptPolicy::Trusted);
    assert_eq!(one("FLOODPLAIN_REPLICA_SPACE", "2GiB").replica_space, 2 << 30);
    assert!(one("FLOODPLAIN_INSECURE_LOOPBACK", "1").insecure_loopback);
}

#[test]
fn every_bad_value_is_refused_by_its_name_with_what_would_do() {
    let whole = "must be a whole number from";
    for (name, value, problem) in [
        ("FLOODPLAIN_REGISTRY_LISTEN", "7000", "must be IP:PORT such as 127.0.0.1:7001 or 0.0.0.0:7001"),
        ("FLOODPLAIN_REGISTRY_LISTEN", "127.0.0.1:70000", "must end in a port from 0 to 65535"),
        ("FLOODPLAIN_REGISTRY_LISTEN", "::1:7000", "an IPv6 address goes in brackets: [::1]:7001"),
        ("FLOODPLAIN_REGISTRY_LISTEN", "224.0.0.1:7000", "must be IP:PORT such as"),
        ("FLOODPLAIN_NETWORK_SIZE", "0", "must be a whole number from 1 to 100000"),
        ("FLOODPLAIN_NETWORK_SIZE", "12", "needs FLOODPLAIN_NUMBER_OF_ZONES as well"),
        ("FLOODPLAIN_NUMBER_OF_ZONES", "-1", "must be a whole number from 1 to 100000"),
        ("FLOODPLAIN_NUMBER_OF_ZONES", "2", "needs FLOODPLAIN_NETWORK_SIZE as well"),
        ("FLOODPLAIN_ZONE_MIN", "0", "must be a whole number from 1 to 10000"),
        ("FLOODPLAIN_ZONE_TARGET", "11", "must be at least twice FLOODPLAIN_ZONE_MIN (6), so 12 or more"),
        ("FLOODPLAIN_ZONE_MAX", "21", "and FLOODPLAIN_ZONE_MIN (6) together, so 22 or more"),
        ("FLOODPLAIN_ZONE_MAX", "99999", whole),
        ("FLOODPLAIN_LEASE", "abc", "must be a duration such as 30s"),
        ("FLOODPLAIN_LEASE", "30", "must be a duration such as 30s"),
        ("FLOODPLAIN_LEASE", "10ms", "must be from 1s to 1h"),
        ("FLOODPLAIN_LEASE", "9999999999999999999y", "must be a duration such as 30s"),
        ("FLOODPLAIN_HEARTBEAT", "11s", "must be at most a third of FLOODPLAIN_LEASE (30s), so 10s or less"),
        ("FLOODPLAIN_HEARTBEAT", "0s", "must be from 100ms to 20m"),
        ("FLOODPLAIN_INSECURE_LOOPBACK", "maybe", "must be true or false"),
    ] {
        let error = registry(&[(name, value)]).unwrap_err();
        assert!(error.starts_with(&format!("{name}={value}: ")) && error.contains(problem), "{error}");
    }
    for (name, value, problem) in [
        ("FLOODPLAIN_REGISTRY", "registry", "must be HOST:PORT such as 127.0.0.1:7000"),
        ("FLOODPLAIN_REGISTRY", "registry:0", "port 0 cannot be dialed"),
        ("FLOODPLAIN_REGISTRY", "0.0.0.0:7000", "must be HOST:PORT"),
        ("FLOODPLAIN_REGISTRY", "10.0.0.300:7000", "must be HOST:PORT"),
        ("FLOODPLAIN_REGISTRY", "http://x:7000", "must be HOST:PORT"),
        ("FLOODPLAIN_NAME", "a b", "may hold letters, digits, `-`, `_` and `.` only"),
        ("FLOODPLAIN_LISTEN", "here", "must be IP:PORT"),
        ("FLOODPLAIN_ADVERTISE", "0.0.0.0:7001", "cannot be dialed by others"),
        ("FLOODPLAIN_ADVERTISE", "239.1.1.1:7001", "cannot be dialed by others"),
        ("FLOODPLAIN_ADVERTISE", "10.0.0.5:0", "port 0 cannot be dialed"),
        ("FLOODPLAIN_ADVERTISE", "garbage", "must be IP:PORT"),
        ("FLOODPLAIN_HTTP_LISTEN", "80", "must be IP:PORT"),
        ("FLOODPLAIN_SHARES", "a::b", "must be folders separated by `:`"),
        ("FLOODPLAIN_SHARES", "/", "has no name to be offered by"),
        ("FLOODPLAIN_SHARES", "a:./a", "./a is there twice"),
        ("FLOODPLAIN_INBOX", "a\0b", "must not hold a NUL character"),
        ("FLOODPLAIN_TTL", "0", "must be a whole number from 1 to 32"),
        ("FLOODPLAIN_TTL", "33", "must be a whole number from 1 to 32"),
        ("FLOODPLAIN_SEARCH_TIMEOUT", "61s", "must be from 100ms to 1m"),
        ("FLOODPLAIN_SAVED_SEARCH_EVERY", "999ms", "must be from 1s to 7days"),
        ("FLOODPLAIN_SAVED_SEARCH_EVERY", "often", "must be a duration such as 5m"),
        ("FLOODPLAIN_QUERY_CACHE", "99", whole),
        ("FLOODPLAIN_UPLOAD_SLOTS", "0", "must be a whole number from 1 to 256"),
        ("FLOODPLAIN_DOWNLOAD_SLOTS", "many", "must be a whole number from 1 to 64"),
        ("FLOODPLAIN_UPLOAD_LIMIT", "1", "must be 0 for no limit, or at least 64.0 kB a second"),
        ("FLOODPLAIN_DOWNLOAD_LIMIT", "63KB", "must be 0 for no limit, or at least"),
        ("FLOODPLAIN_PEER_UPLOAD_LIMIT", "fast", "must be bytes per second such as 5MB"),
        ("FLOODPLAIN_PEER_DOWNLOAD_LIMIT", "-5MB", "must be bytes per second such as 5MB"),
        ("FLOODPLAIN_ACCEPT", "everyone", "must be ask, trusted, all or none"),
        ("FLOODPLAIN_REPLICA_SPACE", "lots", "must be a size such as 512MiB or 20GB"),
        ("FLOODPLAIN_REPLICA_SPACE", "-1GB", "must be a size such as 512MiB or 20GB"),
        ("FLOODPLAIN_INSECURE_LOOPBACK", "2", "must be true or false"),
    ] {
        let error = peer(&[(name, value)]).unwrap_err();
        let shown = crate::protocol::name::Printable(value);
        assert!(error.starts_with(&format!("{name}={shown}: ")) && error.contains(problem), "{error}");
    }
    for (name, value, problem) in [
        ("FLOODPLAIN_LOG", "loud", "must be off, error, warn, info, debug or trace"),
        ("FLOODPLAIN_LOG", "info,x=loud", "must be off, error, warn"),
        ("FLOODPLAIN_LOG_FORMAT", "xml", "must be text or json"),
    ] {
        let error = log(&[(name, value)]).unwrap_err();
        assert!(error.starts_with(&format!("{name}={value}: ")) && error.contains(problem), "{error}");
    }
    assert_eq!(log(&[("FLOODPLAIN_LOG", "warn,floodplain::peer=debug")]).unwrap().filter.len(), 27);
}

#[test]
fn a_fixed_layout_that_does_not_divide_is_refused_and_told_what_would_do() {
    let fixed = |size, zones| {
        registry(&[("FLOODPLAIN_NETWORK_SIZE", size), ("FLOODPLAIN_NUMBER_OF_ZONES", zones)]).unwrap_err()
    };
    assert_eq!(
        fixed("10", "3"),
        "FLOODPLAIN_NETWORK_SIZE=10: must divide by FLOODPLAIN_NUMBER_OF_ZONES (3); 9 and 12 would do"
    );
    assert!(fixed("3", "10").starts_with("FLOODPLAIN_NUMBER_OF_ZONES=10: must be at most"));
    assert!(fixed("0", "2").starts_with("FLOODPLAIN_NETWORK_SIZE=0: "));
    assert!(fixed("2", "0").starts_with("FLOODPLAIN_NUMBER_OF_ZONES=0: "));
    assert!(fixed("100000", "1").contains("zones of 100000 peers, more than 10000"));
    let both = [
        ("FLOODPLAIN_NETWORK_SIZE", "12"),
        ("FLOODPLAIN_NUMBER_OF_ZONES", "2"),
        ("FLOODPLAIN_ZONE_MAX", "30"),
    ];
    assert!(registry(&both).unwrap_err().contains("a fixed layout has no FLOODPLAIN_ZONE_MAX"));
}

#[test]
fn plaintext_on_loopback_refuses_every_other_address() {
    for (name, value) in [
        ("FLOODPLAIN_REGISTRY", "10.0.0.5:7000"),
        ("FLOODPLAIN_REGISTRY", "registry.lan:7000"),
        ("FLOODPLAIN_LISTEN", "0.0.0.0:7001"),
        ("FLOODPLAIN_ADVERTISE", "10.0.0.5:7001"),
    ] {
        assert!(peer(&[(name, value)]).is_ok());
        let error = peer(&[(name, value), ("FLOODPLAIN_INSECURE_LOOPBACK", "true")]).unwrap_err();
        assert!(error.starts_with(&format!("{name}={value}: must be a loopback address")), "{error}");
    }
    let listen = ("FLOODPLAIN_REGISTRY_LISTEN", "0.0.0.0:7000");
    assert!(registry(&[listen, ("FLOODPLAIN_INSECURE_LOOPBACK", "true")]).is_err());
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    for (key, nearest) in [
        ("FLOODPLAIN_LEESE", "FLOODPLAIN_LEASE"),
        ("FLOODPLAIN_SHARE", "FLOODPLAIN_SHARES"),
        ("floodplain_inbox", "FLOODPLAIN_INBOX"),
        ("FLOODPLAIN_NETWORKSIZE", "FLOODPLAIN_NETWORK_SIZE"),
    ] {
        let error = peer(&[(key, "x")]).unwrap_err();
        assert_eq!(error, format!("{key} (environment) is not a setting; the nearest is {nearest}"));
        let (_folder, sources) = in_folder(&format!("{key}=x\n"));
        let error = Raw::read(&sources).unwrap_err().to_string();
        assert_eq!(error, format!("{key} (.env) is not a setting; the nearest is {nearest}"));
    }
    assert!(peer(&[("OTHER_PROGRAM", "x"), ("FLOOD", "y")]).is_ok());
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let (_folder, mut sources) =
        in_folder("FLOODPLAIN_TTL=3\nFLOODPLAIN_UPLOAD_SLOTS=3\nFLOODPLAIN_QUERY_CACHE=300\n");
    sources.environment.extend(
        [("FLOODPLAIN_TTL", "4"), ("FLOODPLAIN_UPLOAD_SLOTS", "4")].map(|(n, v)| (n.into(), v.into())),
    );
    sources.flags = vec![(table::TTL, "5".into())];
    let peer = PeerSettings::from_raw(&Raw::read(&sources).unwrap()).unwrap();
    assert_eq!((peer.ttl, peer.upload_slots, peer.query_cache, peer.download_slots), (5, 4, 300, 4));
    assert!(std::env::var_os("FLOODPLAIN_QUERY_CACHE").is_none(), "the process environment is left alone");
}

#[test]
fn an_empty_value_means_the_default() {
    let settings =
        peer(&[("FLOODPLAIN_TTL", ""), ("FLOODPLAIN_ADVERTISE", ""), ("FLOODPLAIN_NAME", "")]).unwrap();
    assert_eq!((settings.ttl, settings.advertise, settings.is_name_default), (16, None, true));
}

#[test]
fn the_file_of_a_parent_folder_is_not_read() {
    let (folder, sources) = in_folder("FLOODPLAIN_TTL=3\n");
    let below = folder.path().join("below");
    fs::create_dir(&below).unwrap();
    let raw = Raw::read(&Sources { folder: below, ..sources.clone() }).unwrap();
    assert_eq!(PeerSettings::from_raw(&raw).unwrap().ttl, 16);
    assert_eq!(PeerSettings::from_raw(&Raw::read(&sources).unwrap()).unwrap().ttl, 3);
}

#[test]
fn a_named_file_replaces_the_default_one_and_must_be_there() {
    let (folder, mut sources) = in_folder("FLOODPLAIN_TTL=3\n");
    fs::write(folder.path().join("other"), "\u{feff}export FLOODPLAIN_UPLOAD_SLOTS = '2' # two ").unwrap();
    sources.env_file = Some("other".into());
    let peer = PeerSettings::from_raw(&Raw::read(&sources).unwrap()).unwrap();
    assert_eq!((peer.ttl, peer.upload_slots), (16, 2));

    sources.env_file = Some("missing".into());
    let error = Raw::read(&sources).unwrap_err().to_string();
    assert!(error.contains("missing: cannot be read as a settings file"), "{error}");
    sources.env_file = Some(folder.path().into());
    assert!(matches!(Raw::read(&sources), Err(SettingsError::File { .. })), "a folder is no file");
}

#[test]
fn a_file_that_makes_no_sense_is_refused_with_the_line() {
    for (text, line) in [
        ("FLOODPLAIN_LEASE=1m 30s\n", "`1m 30s`"),
        ("hello world\n", "`hello world`"),
        ("A='open\nFLOODPLAIN_TTL=3\n", "`A='open`"),
        ("x\u{1b}[2J y\n", "`x\\u{1b}[2J y`"),
    ] {
        let (_folder, sources) = in_folder(text);
        let error = Raw::read(&sources).unwrap_err().to_string();
        assert!(error.contains(line), "{error}");
    }
    let (_folder, sources) = in_folder(&"#".repeat(2 << 20));
    assert!(Raw::read(&sources).unwrap_err().to_string().ends_with("is too large for a settings file"));
}

#[test]
fn keys_of_the_old_systems_are_understood_in_the_file_only() {
    let (_folder, sources) = in_folder(
        "IP = 127.0.0.2\nPORT=5000\nNETWORK_SIZE=12\nNUMBER_OF_ZONES=2\n\
         PEER_IP=127.0.0.3\nPEER_PORT=5001\nSERVER_IP=localhost\nSERVER_PORT=5002\n",
    );
    let raw = Raw::read(&sources).unwrap();
    let registry = RegistrySettings::from_raw(&raw).unwrap();
    assert_eq!(registry.listen, at("127.0.0.2:5000"));
    assert_eq!(registry.layout, Layout::Fixed { zones: 2, zone_size: 6 });
    let settings = PeerSettings::from_raw(&raw).unwrap();
    assert_eq!((settings.listen, settings.registry.as_str()), (at("127.0.0.3:5001"), "localhost:5002"));

    let settings = peer(&[("PEER_PORT", "5001"), ("SERVER_IP", "10.0.0.1")]).unwrap();
    assert_eq!((settings.listen.port(), settings.registry.as_str()), (7001, "127.0.0.1:7000"));
}

#[test]
fn old_keys_stand_back_for_new_ones_and_are_checked_by_their_own_names() {
    let (_folder, sources) =
        in_folder("PORT=5000\nFLOODPLAIN_REGISTRY_LISTEN=127.0.0.1:6000\nSERVER_PORT=5002\n");
    let raw = Raw::read(&sources).unwrap();
    assert_eq!(RegistrySettings::from_raw(&raw).unwrap().listen, at("127.0.0.1:6000"));
    assert_eq!(PeerSettings::from_raw(&raw).unwrap().registry, "127.0.0.1:5002");
    for (text, start) in [
        ("PORT=abc\n", "PORT=abc: must end in a port"),
        ("IP=somewhere\n", "IP=somewhere: must be an IP address"),
        ("NETWORK_SIZE=0\nNUMBER_OF_ZONES=1\n", "NETWORK_SIZE=0: must be a whole number"),
    ] {
        let (_folder, sources) = in_folder(text);
        let error = RegistrySettings::from_raw(&Raw::read(&sources).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }
    for (text, start) in [
        ("SERVER_IP=0.0.0.0\n", "SERVER_IP=0.0.0.0: must be the registry's host name or IP"),
        ("SERVER_PORT=0\n", "SERVER_PORT=0: must be a whole number from 1 to 65535"),
        ("PEER_IP=224.0.0.1\n", "PEER_IP=224.0.0.1: cannot be listened on"),
    ] {
        let (_folder, sources) = in_folder(text);
        let error = PeerSettings::from_raw(&Raw::read(&sources).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn a_value_that_is_not_text_is_refused_by_name() {
    use std::os::unix::ffi::OsStringExt;
    let mut sources = environment(&[]);
    sources.environment.push(("FLOODPLAIN_INBOX".into(), OsString::from_vec(b"/in\xff".to_vec())));
    assert!(Raw::read(&sources).unwrap_err().to_string().starts_with("FLOODPLAIN_INBOX="));
    sources = environment(&[]);
    sources.environment.push(("OTHER".into(), OsString::from_vec(vec![0xff])));
    assert!(Raw::read(&sources).is_ok());
}

#[test]
fn a_gateway_that_others_can_reach_needs_the_names_that_they_use() {
    let open = ("FLOODPLAIN_HTTP_LISTEN", "0.0.0.0:7080");
    assert!(peer(&[open]).unwrap_err().contains("unless FLOODPLAIN_HTTP_HOSTS names"));
    let named = [open, ("FLOODPLAIN_HTTP_HOSTS", "files.lan")];
    assert_eq!(peer(&named).unwrap().http.listen, Some(at("0.0.0.0:7080")));
    let plain = [named[0], named[1], ("FLOODPLAIN_INSECURE_LOOPBACK", "true")];
    assert!(peer(&plain).unwrap_err().contains("must be a loopback address while"));
    let registry_open = ("FLOODPLAIN_REGISTRY_HTTP_LISTEN", "0.0.0.0:7070");
    assert!(registry(&[registry_open]).unwrap_err().contains("unless FLOODPLAIN_HTTP_HOSTS names"));
    assert!(registry(&[registry_open, named[1]]).is_ok());
    for hosts in ["files.lan:80", "a b", "a,,b", "http://x", "0.0.0.0", &"x,".repeat(20)] {
        assert!(peer(&[("FLOODPLAIN_HTTP_HOSTS", hosts)]).is_err(), "{hosts}");
    }
}

#[test]
fn a_setting_without_effect_says_so() {
    let raw = Raw::read(&environment(&[("FLOODPLAIN_REGISTRY_HTTP_LISTEN", "127.0.0.1:80")])).unwrap();
    assert_eq!(raw.notes(), ["FLOODPLAIN_REGISTRY_HTTP_LISTEN is set, but has no effect in this version"]);
    assert!(Raw::read(&environment(&[])).unwrap().notes().is_empty());
}

#[test]
fn the_example_names_every_setting_with_its_default_and_no_other() {
    let example = include_str!("../../.env.example");
    let shown: Vec<_> = example
        .lines()
        .filter_map(|line| {
            line.strip_prefix('#').filter(|line| line.starts_with(table::PREFIX))?.split_once('=')
        })
        .collect();
    for setting in table::SETTINGS {
        assert!(shown.contains(&(setting.name, setting.default)), "{}", setting.name);
    }
    assert_eq!(shown.len(), table::SETTINGS.len());

    let (_folder, sources) = in_folder(&example.replace("#FLOODPLAIN_", "FLOODPLAIN_"));
    let raw = Raw::read(&sources).unwrap();
    assert!(PeerSettings::from_raw(&raw).is_ok(), "uncommented it is a valid file");
}

proptest! {
    #[test]
    fn no_value_whatever_panics(name in 0..table::SETTINGS.len(), value in "\\PC{0,40}|[0-9a-z:.\\[\\]/-]{0,24}") {
        let pair = [(table::SETTINGS[name].name, value.as_str())];
        for error in [registry(&pair).err(), peer(&pair).err(), log(&pair).err()].into_iter().flatten() {
            prop_assert!(error.starts_with("FLOODPLAIN_"), "{}", error);
        }
    }
}
