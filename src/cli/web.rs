//! `floodplain web`: a link to the page of the daemon that runs on this machine, and the gateway that daemons open.

use std::{net::SocketAddr, path::Path, process::Stdio, sync::Arc, time::Duration};

use super::{
    args::WebArgs,
    exit::{Ended, Exit, Failure, failed},
    json,
    output::Output,
};
use crate::{
    config::HttpSettings,
    peer::{Peer, control},
    protocol::action::{ActionError, ErrorKind},
    registry::overview::Overview,
    shutdown::Shutdown,
    web::{self, Gateway, token},
};

/// For a gateway on this machine to take a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// Opens the gateway of a peer of this process; `None` when its settings turn it off.
pub(super) async fn open(
    settings: &HttpSettings,
    data: &Path,
    peer: &Peer,
    out: &mut Output,
    shutdown: &Shutdown,
) -> Result<Option<Gateway>, Failure> {
    let (handle, operator) = (peer.handle(), web::of_peer(&peer.vitals()));
    let (called, stop) = (handle.clone(), shutdown.clone());
    let calls: web::Calls = Arc::new(move || Box::pin(control::routes(called.clone(), stop.clone())));
    let opened = web::open_peer(settings, token::folder(data), handle, Some(calls), operator, shutdown).await;
    let gateway = opened.map_err(|error| failed(&error))?;
    tell_other(gateway.as_ref(), out);
    Ok(gateway)
}

/// Opens the gateway of a registry of this process; `None` when its settings turn it off, or when it keeps no folder.
pub(super) async fn open_registry(
    settings: &HttpSettings,
    data: &Path,
    overview: Overview,
    out: &mut Output,
    shutdown: &Shutdown,
) -> Result<Option<Gateway>, Failure> {
    let opened = web::open_registry(settings, token::registry_folder(data), overview, shutdown).await;
    let gateway = opened.map_err(|error| failed(&error))?;
    tell_other(gateway.as_ref(), out);
    Ok(gateway)
}

/// Says so when it listens on another port than the default one.
fn tell_other(gateway: Option<&Gateway>, out: &mut Output) {
    if let Some(gateway) = gateway
        && let Some(taken) = gateway.instead_of()
    {
        out.note(format_args!("{taken} is taken; the web page listens on {}", gateway.address()));
    }
}

/// A link that opens the page of that gateway once.
pub(super) fn link_of(gateway: &Gateway) -> Result<String, Failure> {
    gateway.link().map_err(|error| failed(&error))
}

/// Prints a link to the page, or opens it in a browser.
pub(super) async fn web(data: &Path, out: &mut Output, args: WebArgs) -> Ended {
    let (folder, daemon) = if args.registry {
        (token::registry_folder(data), "registry")
    } else {
        (token::folder(data), "peer")
    };
    let none = || {
        let message = format!("no {daemon} with a web page runs in {}", data.display());
        let hint = format!("start one with `floodplain {daemon}`, or name its data folder with --data");
        Failure::from(ActionError::new(ErrorKind::Unreachable, message).hint(hint))
    };
    let address = token::address(&folder).map_err(|error| failed(&error))?.ok_or_else(none)?;
    // One that was killed left its address behind.
    let socket: SocketAddr = address.parse().map_err(|_| none())?;
    match tokio::time::timeout(CONNECT_DEADLINE, tokio::net::TcpStream::connect(socket)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => return Err(none()),
    }
    let link = web::link(&folder).map_err(|error| failed(&error))?.ok_or_else(none)?;
    if args.open && open_browser(&link).await {
        out.note(format_args!("opened http://{address}/ in your browser"));
        return Ok(Exit::Done);
    }
    if args.open {
        out.note("no browser could be opened here; follow this link");
    }
    if out.style.json {
        out.json(&json::Link { link: &link, address: &address })?;
    } else {
        out.line(&link)?;
        out.note("it opens the page once, within 10 minutes");
    }
    Ok(Exit::Done)
}

/// Hands the link to whatever opens links on this desktop.
async fn open_browser(link: &str) -> bool {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = std::process::Command::new(opener);
    command.arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let opening = tokio::task::spawn_blocking(move || command.status());
    matches!(opening.await, Ok(Ok(status)) if status.success())
}
