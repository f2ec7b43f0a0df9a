//! One text to one value. Each parser says what would do, as the end of a sentence that begins with the setting's name.

use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use bytesize::ByteSize;

use crate::{
    protocol::{action::AcceptPolicy, name::Printable},
    wire,
};

/// Most folders that one peer offers by its settings; a guess.
pub const MAX_SHARES: usize = 64;

/// Least rate limit: below it, other peers would take a transfer for a stalled one.
const MIN_RATE: u64 = 64_000;

/// A number within bounds.
pub fn number<T>(text: &str, min: T, max: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display + Copy,
{
    match text.parse() {
        Ok(number) if min <= number && number <= max => Ok(number),
        _ => Err(format!("must be a whole number from {min} to {max}")),
    }
}

/// A span of time within bounds.
pub fn duration(text: &str, example: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let span =
        humantime::parse_duration(text).map_err(|_| format!("must be a duration such as {example}"))?;
    if span < min || span > max {
        let show = humantime::format_duration;
        return Err(format!("must be from {} to {}", show(min), show(max)));
    }
    Ok(span)
}

/// A size in bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    match text.parse::<ByteSize>() {
        Ok(size) if is_number && i64::try_from(size.as_u64()).is_ok() => Ok(size.as_u64()),
        _ => Err("must be a size such as 512MiB or 20GB".into()),
    }
}

/// A rate in bytes per second; 0 is no limit.
pub fn rate(text: &str) -> Result<u64, String> {
    let text = text.strip_suffix("/s").unwrap_or(text);
    match size(text) {
        Ok(rate) if rate == 0 || rate >= MIN_RATE => Ok(rate),
        Ok(_) => Err(format!(
            "must be 0 for no limit, or at least {} a second",
            ByteSize::b(MIN_RATE).display().si()
        )),
        Err(_) => Err("must be bytes per second such as 5MB or 512KiB, or 0 for no limit".into()),
    }
}

/// Yes or no.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

/// An address to listen on, `IP:PORT`; port 0 lets the system choose.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    let problem = || "must be IP:PORT such as 127.0.0.1:7001 or 0.0.0.0:7001".to_owned();
    let (host, number) = text.rsplit_once(':').ok_or_else(problem)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or_else(problem)?,
        None if host.contains(':') => return Err("an IPv6 address goes in brackets: [::1]:7001".into()),
        None => host,
    };
    Ok(SocketAddr::new(ip(host).map_err(|_| problem())?, port(number)?))
}

/// An IP to listen on. `localhost` is taken as 127.0.0.1.
pub fn ip(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let ip: IpAddr = text.parse().map_err(|_| "must be an IP address such as 127.0.0.1".to_owned())?;
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err("cannot be listened on; must be an address of this machine".into());
    }
    Ok(ip)
}

/// A port; 0 lets the system choose.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "must end in a port from 0 to 65535".to_owned())
}

/// An address that others can dial.
pub fn advertised(text: &str) -> Result<SocketAddr, String> {
    wire::common::address("address", text).map_err(|invalid| invalid.problem)
}

/// A machine and its port, to dial: `HOST:PORT`, `IP:PORT` or `[IPv6]:PORT`.
pub fn host_port(text: &str) -> Result<String, String> {
    let problem = || "must be HOST:PORT such as 127.0.0.1:7000 or registry.lan:7000".to_owned();
    let (host, number) = text.rsplit_once(':').ok_or_else(problem)?;
    dialed_host(host).map_err(|()| problem())?;
    match number.parse::<u16>() {
        Ok(0) => Err("port 0 cannot be dialed".into()),
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(problem()),
    }
}

/// Checks a host to dial, an IPv6 one in brackets.
fn dialed_host(host: &str) -> Result<(), ()> {
    let ip = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => Some(IpAddr::V6(inner.parse().map_err(drop)?)),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    match ip {
        Some(ip) if ip.is_unspecified() || ip.is_multicast() => Err(()),
        Some(_) => Ok(()),
        // A name of nothing but digits and dots is a mistyped IP.
        None if host.chars().all(|c| c.is_ascii_digit() || c == '.') => Err(()),
        None if host.len() <= 253 && host.split('.').all(is_dns_label) => Ok(()),
        None => Err(()),
    }
}

fn is_dns_label(label: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=63).contains(&label.len()) && label.chars().all(allowed)
}

/// A `HOST:PORT` that stays on this machine.
pub fn is_loopback(host_port: &str) -> bool {
    let host = host_port.rsplit_once(':').map_or(host_port, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// A path, made absolute against the working folder; a leading `~/` is the home folder.
pub fn path(text: &str, folder: &Path) -> Result<PathBuf, String> {
    if text.contains('\0') {
        return Err("must not hold a NUL character".into());
    }
    let path = match text.strip_prefix("~/").or((text == "~").then_some("")) {
        Some(rest) => directories::BaseDirs::new()
            .ok_or("begins with ~, but this user has no home folder")?
            .home_dir()
            .join(rest),
        None => folder.join(text),
    };
    // `components` drops the `.` of `./share`; `..` stays, for a symbolic link may lie before it.
    Ok(path.components().collect())
}

/// Folders to offer, separated by `:` as in PATH. Each needs a name of its own, for others see it by that.
pub fn shares(text: &str, folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut shares: Vec<PathBuf> = Vec::new();
    for part in text.split(':') {
        if part.is_empty() {
            return Err("must be folders separated by `:`, none of them empty".into());
        }
        let share = path(part, folder)?;
        if share.file_name().is_none() {
            return Err(format!("{} has no name to be offered by; name a folder", Printable(part)));
        }
        if shares.contains(&share) {
            return Err(format!("{} is there twice", Printable(part)));
        }
        shares.push(share);
    }
    if shares.len() > MAX_SHARES {
        return Err(format!("must be at most {MAX_SHARES} folders, not {}", shares.len()));
    }
    Ok(shares)
}

/// Who may put files into the inbox.
pub fn accept(text: &str) -> Result<AcceptPolicy, String> {
    [AcceptPolicy::Ask, AcceptPolicy::Trusted, AcceptPolicy::All, AcceptPolicy::None]
        .into_iter()
        .find(|policy| policy.name() == text)
        .ok_or_else(|| "must be ask, trusted, all or none".into())
}
