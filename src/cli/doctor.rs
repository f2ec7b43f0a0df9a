//! `doctor`: looks for the usual faults of a peer on this machine, and of the registry where one is beside it, and says what each means and what to do about it.
//!
//! Invariant: looking changes nothing. What it asks of others is bounded in time, and what they answer is escaped.

mod clock;
mod files;
pub mod finding;
mod network;
mod port;
mod registry;
mod settings;

use std::path::Path;

use tokio::runtime::Builder;

use self::{
    finding::{Finding, Found},
    registry::Own,
};
use super::{
    args::Global,
    daemon,
    exit::{Ended, Exit, Failure},
    output::Output,
    runtime, table,
};
use crate::{
    config::{LogFormat, LogSettings, PeerSettings, Raw, Sources},
    peer::{Handle, control, remote},
    protocol::{
        action::{Connection, ErrorKind, ShareInfo, Status},
        name::Printable,
    },
    telemetry::{self, Sink},
};

/// Looks, tells, and ends with 1 when anything was found.
pub(super) fn doctor(global: &Global, out: &mut Output) -> Ended {
    let flags = global.data.clone().map(|folder| (table::DATA, folder)).into_iter().collect();
    let sources = Sources::of_process(flags, global.env_file.clone())
        .map_err(|error| Failure::failed(format!("the working folder cannot be used: {error}")))?;
    let (mut raw, mut findings) = settings::examine(&sources);
    daemon::default_listen(&mut raw);
    // What the libraries below say of it is no answer for whoever asks a doctor; -v shows it all the same.
    findings.extend(LogSettings::from_raw(&raw).err().map(|error| settings::bad(&error)));
    let filter = if global.verbose > 0 { "debug" } else { "off" };
    let log = LogSettings {
        filter: filter.into(),
        is_filter_set: true,
        format: LogFormat::Text,
        #[cfg(feature = "otlp")]
        otlp_endpoint: None,
    };
    telemetry::init(&log, Sink::Stderr).map_err(|error| Failure::failed(format!("{error:#}")))?;
    let read = PeerSettings::from_raw(&raw);
    match read {
        Ok(settings) => {
            let runtime = runtime(Builder::new_current_thread())?;
            let looked = super::to_its_end_in(&runtime, look(&settings, raw, out), global.timeout);
            runtime.shutdown_background();
            findings.extend(looked?);
        }
        Err(error) => {
            findings.push(settings::bad(&error));
            out.note("the rest was not looked at, for it hangs on that setting");
        }
    }
    tell(out, &findings)
}

fn tell(out: &mut Output, findings: &[Finding]) -> Ended {
    for finding in findings {
        if out.style.json {
            out.json(finding)?;
            continue;
        }
        out.line(format_args!("{}: {}", finding.id, Printable(&finding.what)))?;
        out.line(format_args!("  why: {}", Printable(&finding.why)))?;
        out.line(format_args!("  do:  {}", Printable(&finding.todo)))?;
    }
    match findings.len() {
        0 => out.note("nothing is wrong, as far as can be seen from here"),
        1 => out.note("1 finding"),
        more => out.note(format_args!("{more} findings")),
    }
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Failed })
}

async fn look(settings: &PeerSettings, mut raw: Raw, out: &mut Output) -> Result<Vec<Finding>, Failure> {
    let own = Own::of(&settings.data, &raw);
    let mut findings = Vec::new();
    if own.as_ref().is_some_and(|own| own.is_alone) {
        out.note("only a registry belongs to this data folder; no peer was looked for");
    } else {
        findings.extend(look_at_peer(settings, out).await);
    }
    findings.extend(files::secrets(&settings.data));
    if let Some(own) = own {
        match own.settings(&settings.data, &mut raw) {
            Ok(settings) => {
                let Found { findings: more, notes } = registry::look(&own, &settings).await;
                findings.extend(more);
                for note in notes {
                    out.note(note);
                }
            }
            Err(error) => findings.push(settings::bad(&error)),
        }
    }
    Ok(findings)
}

async fn look_at_peer(settings: &PeerSettings, out: &mut Output) -> Vec<Finding> {
    let mut findings = files::folders(&settings.data, &settings.inbox);
    let running = running(&settings.data, &mut findings).await;
    let shares = match &running {
        Some((_, _, shares)) => shares.clone(),
        None => settings.shares.iter().map(|folder| files::share(folder)).collect(),
    };
    findings.extend(files::shares(&shares));
    let status = running.as_ref().map(|(_, status, _)| status);
    let Found { findings: more, notes } = network::look(settings, status).await;
    findings.extend(more);
    for note in notes {
        out.note(note);
    }
    findings
}

/// The running peer with what it says of itself; a finding when there is none.
async fn running(data: &Path, findings: &mut Vec<Finding>) -> Option<(Handle, Status, Vec<ShareInfo>)> {
    let answer = async {
        let peer = remote::connect(&control::socket_path(data)).await?;
        let (status, shares) = tokio::try_join!(peer.status(), peer.shares())?;
        Ok((peer, status, shares))
    };
    match answer.await {
        Ok((peer, status, shares)) => {
            if status.connection == Connection::Disconnected {
                findings.push(Finding {
                    id: finding::DISCONNECTED,
                    what: "the peer left the network and keeps running".into(),
                    why: "somebody told it to; it is found by nobody and finds nothing".into(),
                    todo: "`floodplain console`, and `connect` there".into(),
                });
            }
            Some((peer, status, shares))
        }
        Err(error) => {
            let error: crate::protocol::action::ActionError = error;
            let (what, todo) = match error.kind {
                ErrorKind::Unreachable => (error.message, error.hint),
                _ => (format!("the peer answers with a fault: {}", error.message), "restart it".into()),
            };
            findings.push(Finding {
                id: finding::NOT_RUNNING,
                what,
                why: "nothing is shared, found or received while it does not run".into(),
                todo,
            });
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_text_of_findings_steers_no_terminal() {
        let data = tempfile::tempdir().expect("a folder");
        let sources = Sources {
            environment: vec![("FLOODPLAIN_\u{1b}[2J".into(), "x".into())],
            folder: data.path().into(),
            ..Sources::default()
        };
        let (_, findings) = settings::examine(&sources);
        assert_eq!(findings.len(), 1);
        let line = Printable(&findings[0].what).to_string();
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}
