//! How a peer comes to belong to a closed network: by an invite, once; from then on its data folder says so.
//!
//! Invariant: the token goes only to a registry that has proved the key of the invite, and never to one of another network
//! than the one that the data folder belongs to.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use crate::{
    config::PeerSettings,
    net::{DialError, PrivateKey, Trust, enroll as first_contact, enroll::Untrusted},
    protocol::{
        action::{ActionError, ErrorKind},
        id::PeerName,
        trust::{Credentials, NetworkId, invite::Invite},
    },
    store::membership::{Enrolled, NetworkFolder},
    wire::{
        enrollment::{self, Enrollment},
        pb::enrollment_service_client::EnrollmentServiceClient,
    },
};

/// How long the registry may take to let a peer in.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts of a daemon whose registry, or whose invite, is not there yet.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Between two messages about the same trouble.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Longest file of an invite that is read.
const MAX_FILE_BYTES: u64 = 4096;

/// Enters the network of the invite, and keeps what that takes in the data folder. A peer that belongs to it already is
/// let in anew when the token is good, and stays what it is when not.
///
/// # Errors
/// `Refused` when the registry says no, or when the folder belongs to another network and `leaves_old` is false;
/// `Unreachable` when nobody answers. The data folder belongs then where it did before.
pub async fn enroll(
    settings: &PeerSettings,
    invite: &Invite,
    leaves_old: bool,
) -> Result<Enrolled, ActionError> {
    let folder = NetworkFolder::of(&settings.data);
    let known = folder.load().map_err(|error| failed(&error))?;
    match let_in(settings, &folder, invite, known.as_ref(), leaves_old).await {
        Ok(enrolled) => {
            folder.save(&enrolled).map_err(|error| failed(&error))?;
            tracing::info!(network = %enrolled.credentials.network, name = %enrolled.name, "enrolled");
            Ok(enrolled)
        }
        Err(error) => {
            let stays = matches!(error.kind, ErrorKind::Unreachable | ErrorKind::TimedOut)
                || error.hint == USED_UP_HINT;
            let known = known.filter(|known| stays && is_of(known, invite));
            let known = known.ok_or_else(|| error.clone())?;
            tracing::info!(network = %known.credentials.network, %error, "the invite does nothing; this peer is a member already");
            Ok(known)
        }
    }
}

/// What the peer of these settings belongs to: what its folder says, else what its invite gives. Waits for the file of an
/// invite to appear and for the registry to answer, and says so meanwhile. Cancel-safe.
///
/// # Errors
/// When there is neither; as [`enroll`] but for what may mend itself.
pub(super) async fn enrolled(settings: &PeerSettings) -> Result<Enrolled, ActionError> {
    let folder = NetworkFolder::of(&settings.data);
    let (mut told, mut told_at) = (String::new(), Instant::now());
    loop {
        let known = folder.load().map_err(|error| failed(&error))?;
        let found = invite_of(settings);
        let error = match (known, found) {
            (Some(known), Ok(Some(invite))) if !is_of(&known, &invite) => {
                // The authority may have been changed while this peer was away.
                match enroll(settings, &invite, false).await {
                    Ok(enrolled) => return Ok(enrolled),
                    Err(error) if error.kind == ErrorKind::Unreachable => error,
                    Err(error) => return Err(error),
                }
            }
            (Some(known), _) => return Ok(known),
            (None, Ok(Some(invite))) => match enroll(settings, &invite, false).await {
                Ok(enrolled) => return Ok(enrolled),
                // A file may be written anew.
                Err(error) if error.kind == ErrorKind::Unreachable || settings.invite.is_none() => error,
                Err(error) => return Err(error),
            },
            (None, Ok(None)) => return Err(belongs_nowhere()),
            (None, Err(error)) => error,
        };
        let text = error.to_string();
        if told != text || told_at.elapsed() > TELL_EVERY {
            tracing::warn!(%error, hint = error.hint, "not in the network yet; trying again");
            (told, told_at) = (text, Instant::now());
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

/// The invite of the settings; an error when its file is not there yet or holds something else.
fn invite_of(settings: &PeerSettings) -> Result<Option<Invite>, ActionError> {
    if settings.invite.is_some() {
        return Ok(settings.invite.clone());
    }
    settings.invite_file.as_deref().map(read_invite).transpose()
}

/// An invite out of a file.
///
/// # Errors
/// When it cannot be read or holds no invite; what it holds is not repeated.
pub fn read_invite(path: &Path) -> Result<Invite, ActionError> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
    let hint = "the registry writes it when FLOODPLAIN_INVITE_FILE is set for it; or put there what `floodplain invite` prints";
    read.map_err(|error| {
        let message = format!("no invite can be read from {}: {error}", path.display());
        ActionError::new(ErrorKind::Failed, message).hint(hint)
    })?;
    text.parse().map_err(|error| {
        ActionError::new(ErrorKind::Usage, format!("{}: {error}", path.display())).hint(hint)
    })
}

fn belongs_nowhere() -> ActionError {
    let hint = "enter one with `floodplain join INVITE`, or set FLOODPLAIN_INVITE or FLOODPLAIN_INVITE_FILE; \
                to make one: `floodplain up`; to try on this machine alone: FLOODPLAIN_INSECURE_LOOPBACK=true";
    ActionError::new(ErrorKind::Usage, "this peer belongs to no network").hint(hint)
}

/// Surely of the same network. When this is false it may still be, under an authority that came later.
fn is_of(known: &Enrolled, invite: &Invite) -> bool {
    let credentials = &known.credentials;
    credentials.network == invite.authority.network_id()
        || credentials.authorities.contains(&invite.authority)
}

async fn let_in(
    settings: &PeerSettings,
    folder: &NetworkFolder,
    invite: &Invite,
    known: Option<&Enrolled>,
    leaves_old: bool,
) -> Result<Enrolled, ActionError> {
    let (channel, network) = first_contact::meet(&invite.registry, invite.authority)
        .await
        .map_err(|error| unreachable(&invite.registry, error))?;
    if let Some(known) = known.filter(|known| known.credentials.network != network && !leaves_old) {
        return Err(other_network(&settings.data, known.credentials.network, network));
    }
    let key = folder.key().map_err(|error| failed(&error))?;
    let mut client =
        EnrollmentServiceClient::new(channel).max_decoding_message_size(enrollment::MAX_ANSWER_BYTES);
    let mut name =
        known.filter(|_| settings.is_name_default).map_or(&settings.name, |known| &known.name).clone();
    let mut has_other_name = !settings.is_name_default;
    let answer = loop {
        let signed = enrollment::signed(&invite.authority, &invite.token, &key.public(), &name);
        let proof = key.sign(&signed);
        let ask = Enrollment { token: invite.token, key: key.public(), proof, name: name.clone() };
        let answer = timeout(ANSWER_TIMEOUT, client.enroll(enrollment::to_enrollment(&ask)));
        match answer.await {
            Ok(Ok(answer)) => break answer.into_inner(),
            Ok(Err(status)) if status.code() == Code::AlreadyExists && !has_other_name => {
                has_other_name = true;
                name = another_name(&name, &key);
            }
            Ok(Err(status)) => return Err(refused(&invite.registry, &status)),
            Err(_) => {
                let message =
                    format!("the registry at {} did not answer within {ANSWER_TIMEOUT:?}", invite.registry);
                return Err(ActionError::new(ErrorKind::Unreachable, message).hint("try again"));
            }
        }
    };
    let credentials = enrollment::credentials(answer.credentials)
        .map_err(|invalid| malformed(&invite.registry, &invalid))?;
    check(&key, &credentials, invite, network)?;
    let registry = invite.registry.clone();
    Ok(Enrolled { key, credentials, issued: SystemTime::now(), registry, name })
}

/// What came back is of our key, of that network, by an authority that the invite vouches for, and good now.
fn check(
    key: &PrivateKey,
    credentials: &Credentials,
    invite: &Invite,
    network: NetworkId,
) -> Result<(), ActionError> {
    let is_vouched = credentials.network == network && credentials.authorities.contains(&invite.authority);
    let trust = Trust::new(key.clone(), credentials.clone());
    if let Some(error) =
        trust.err().or_else(|| (!is_vouched).then(|| anyhow::anyhow!("it is of another network")))
    {
        return Err(malformed(&invite.registry, &error));
    }
    let now = SystemTime::now();
    if credentials.not_after <= now {
        return Err(clocks(&invite.registry, now, "its certificate ended", credentials.not_after));
    }
    Ok(())
}

/// The name of a machine that another peer has too, told apart by the key.
pub(super) fn another_name(name: &PeerName, key: &PrivateKey) -> PeerName {
    with_id(name, &key.public().peer_id())
}

/// A name with the beginning of the id behind it.
pub(super) fn with_id(name: &PeerName, id: &crate::protocol::id::PeerId) -> PeerName {
    PeerName::from_any(&format!("{:.58}-{:.4}", name.as_str(), id.to_string()))
}

/// Of a refusal for want of a good token, by which [`enroll`] knows it.
const USED_UP_HINT: &str = "ask whoever runs the network for a new invite (`floodplain invite`)";

fn refused(registry: &str, status: &Status) -> ActionError {
    let (kind, hint) = match status.code() {
        Code::Unauthenticated => (ErrorKind::Refused, USED_UP_HINT),
        Code::AlreadyExists => (ErrorKind::Refused, "choose another name with --name or FLOODPLAIN_NAME"),
        Code::PermissionDenied => (
            ErrorKind::Refused,
            "this key was shut out for good; a new data folder (--data) and a new invite make a new peer",
        ),
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => {
            (ErrorKind::Unreachable, "try again in a moment")
        }
        Code::Unimplemented => (ErrorKind::Refused, "is it the registry of a closed network?"),
        _ => (ErrorKind::Refused, "compare the versions of the two daemons"),
    };
    let message = format!("the registry at {registry} did not let this peer in: {}", status.message());
    ActionError::new(kind, message).hint(hint)
}

fn unreachable(registry: &str, error: DialError) -> ActionError {
    match first_contact::untrusted(&error) {
        Some(Untrusted::NotYet { now, begins }) => clocks(registry, now, "its certificate begins", begins),
        Some(Untrusted::Over { now, ended }) => clocks(registry, now, "its certificate ended", ended),
        Some(Untrusted::Foreign) => ActionError::new(
            ErrorKind::Refused,
            format!("who answers at {registry} is not the registry that the invite is for"),
        )
        .hint("the network may have been made anew: ask for a new invite; or someone is between you and it"),
        None => ActionError::new(ErrorKind::Unreachable, format!("{:#}", anyhow::Error::from(error)))
            .hint("is the registry running, and is that address reached from here?"),
    }
}

fn clocks(registry: &str, now: SystemTime, what: &str, then: SystemTime) -> ActionError {
    let show = humantime::format_rfc3339_seconds;
    let message = format!(
        "this machine's clock says {}, and by that of the registry at {registry} {what} at {}",
        show(now),
        show(then)
    );
    ActionError::new(ErrorKind::Failed, message).hint("set the clock that is wrong, and try again")
}

fn malformed(registry: &str, problem: &dyn std::fmt::Display) -> ActionError {
    let message = format!("what the registry at {registry} gave cannot be used: {problem}");
    ActionError::new(ErrorKind::Failed, message).hint("compare the versions of the two daemons")
}

fn other_network(data: &Path, ours: NetworkId, other: NetworkId) -> ActionError {
    let message = format!("{} belongs to the network {ours}, and the invite is for {other}", data.display());
    ActionError::new(ErrorKind::Refused, message).hint(
        "name another folder with --data, or leave the old network with `floodplain join --leave-old INVITE`",
    )
}

fn failed(error: &anyhow::Error) -> ActionError {
    ActionError::new(ErrorKind::Failed, format!("{error:#}"))
}
