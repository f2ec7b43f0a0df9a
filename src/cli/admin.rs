//! The verbs of whoever runs a closed network: invite, revoke, members, authority. They ask the registry that runs on this
//! machine, through the socket in its data folder, which only its owner can open.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tonic::{Code, Response, Status, transport::Channel};

use super::{
    args::{AuthorityAction, InviteArgs},
    exit::{Ended, Exit, Failure},
    json::{self, when},
    output::Output,
};
use crate::{
    peer::remote,
    protocol::{
        action::{ActionError, ErrorKind},
        id::{PeerId, ZoneId},
        trust::PublicKey,
    },
    wire::{
        Invalid,
        enrollment::time,
        pb::{
            self, registry_admin_service_client::RegistryAdminServiceClient, rotate_authority_request::Step,
        },
    },
};

/// File name of the socket in a registry's data folder.
const SOCKET: &str = "registry.sock";
/// Folder of the registry in the data folder that `up` was given.
pub const UP_FOLDER: &str = "registry";
/// For one answer. The registry is on this machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Members asked for at once.
const PAGE_SIZE: u32 = 500;
/// Pages read; a listing that goes on is not followed for ever.
const MAX_PAGES: usize = 1000;
/// Largest answer: a page of members of some 200 B each.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The registry that runs on this machine.
#[derive(Debug)]
pub struct Admin {
    client: RegistryAdminServiceClient<Channel>,
}

/// An invite, and until when it is good.
#[derive(Debug)]
pub struct Invited {
    /// The text: a secret.
    pub invite: String,
    /// Until then.
    pub expires: SystemTime,
}

impl Admin {
    /// The registry whose data folder that is.
    ///
    /// # Errors
    /// `Unreachable` when none runs there.
    pub async fn of(registry_data: &Path) -> Result<Self, ActionError> {
        Self::connect(&registry_data.join(SOCKET)).await
    }

    /// The registry of a data folder, run by `registry` or by `up`.
    ///
    /// # Errors
    /// `Unreachable` when none runs there.
    pub async fn find(data: &Path) -> Result<Self, ActionError> {
        let socket = socket(data).ok_or_else(|| {
            let message =
                format!("no registry of a closed network runs with the data folder {}", data.display());
            ActionError::new(ErrorKind::Unreachable, message)
                .hint("run this where the registry runs, as its user; name its data folder with --data")
        })?;
        Self::connect(&socket).await
    }

    async fn connect(socket: &Path) -> Result<Self, ActionError> {
        let channel = channel(socket).await?;
        let client = RegistryAdminServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        Ok(Self { client })
    }

    /// Makes an invite.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn invite(
        &mut self,
        uses: u32,
        lifetime: Duration,
        zone: Option<ZoneId>,
    ) -> Result<Invited, ActionError> {
        let request = pb::CreateInviteRequest {
            lifetime: Some(prost_types::Duration {
                seconds: i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX),
                nanos: 0,
            }),
            uses,
            zone_id: zone.map_or(0, ZoneId::get),
        };
        let answer = answered(self.client.create_invite(request)).await?;
        let expires = time("expires", answer.expires.unwrap_or_default()).map_err(malformed)?;
        Ok(Invited { invite: answer.invite, expires })
    }

    async fn members(&mut self) -> Result<Vec<Member>, ActionError> {
        let (mut members, mut page_token) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let request = pb::ListMembersRequest { page_size: PAGE_SIZE, page_token };
            let page = answered(self.client.list_members(request)).await?;
            for found in page.members {
                members.push(member(found).map_err(malformed)?);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(members)
    }
}

/// The socket of the registry of a data folder, run by `registry` or by `up`; `None` when there is none.
pub fn socket(data: &Path) -> Option<PathBuf> {
    [data.join(SOCKET), data.join(UP_FOLDER).join(SOCKET)].into_iter().find(|socket| socket.exists())
}

/// The channel to the registry behind a socket.
///
/// # Errors
/// `Unreachable` when none answers there.
pub async fn channel(socket: &Path) -> Result<Channel, ActionError> {
    remote::unix_channel(socket).await.map_err(|_| {
        let message = format!("no registry answers at {}", socket.display());
        let hint = "start it with `floodplain up` or `floodplain registry`";
        ActionError::new(ErrorKind::Unreachable, message).hint(hint)
    })
}

/// A member, checked.
struct Member {
    id: String,
    name: String,
    state: &'static str,
    enrolled: Option<SystemTime>,
    not_after: Option<SystemTime>,
    is_newest_authority: bool,
}

impl Member {
    fn json(&self) -> json::Member<'_> {
        json::Member {
            name: &self.name,
            peer_id: &self.id,
            state: self.state,
            enrolled: when(self.enrolled),
            certificate_until: when(self.not_after),
            newest_authority: self.is_newest_authority,
        }
    }

    fn row(&self) -> [String; 5] {
        let authority = if self.is_newest_authority { "newest" } else { "older" };
        [
            self.name.clone(),
            self.state.to_owned(),
            when(self.not_after).unwrap_or_default(),
            authority.to_owned(),
            self.id.clone(),
        ]
    }
}

fn member(member: pb::NetworkMember) -> Result<Member, Invalid> {
    let at = |field, at: Option<prost_types::Timestamp>| at.map(|at| time(field, at)).transpose();
    Ok(Member {
        id: PeerId::try_from(&member.peer_id[..]).map_err(Invalid::id("peer_id"))?.to_string(),
        name: member.name,
        state: match (member.is_revoked, member.is_live) {
            (true, _) => "revoked",
            (false, true) => "live",
            (false, false) => "away",
        },
        enrolled: at("enrolled", member.enrolled)?,
        not_after: at("not_after", member.not_after)?,
        is_newest_authority: member.is_newest_authority,
    })
}

/// One call within its deadline.
async fn answered<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, ActionError> {
    match tokio::time::timeout(ANSWER_DEADLINE, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(refused(&status)),
        Err(_) => {
            Err(ActionError::new(ErrorKind::TimedOut, "the registry does not answer").hint("restart it"))
        }
    }
}

fn refused(status: &Status) -> ActionError {
    let (kind, hint) = match status.code() {
        Code::NotFound => (ErrorKind::NotFound, "`floodplain members` lists them"),
        Code::FailedPrecondition => (ErrorKind::Refused, ""),
        Code::InvalidArgument => (ErrorKind::Usage, ""),
        Code::Unavailable => (ErrorKind::Unreachable, "is the registry still running?"),
        Code::PermissionDenied | Code::ResourceExhausted => (ErrorKind::Refused, ""),
        _ => (ErrorKind::Failed, ""),
    };
    ActionError::new(kind, status.message()).hint(hint)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn malformed(invalid: Invalid) -> ActionError {
    ActionError::new(ErrorKind::Failed, format!("the registry's answer is malformed: {invalid}"))
        .hint("compare the versions of the two")
}

/// Makes an invite and prints it.
pub async fn invite(data: &Path, out: &mut Output, args: &InviteArgs) -> Ended {
    let invited = Admin::find(data).await?.invite(args.uses, args.lifetime, args.zone).await?;
    if out.style.json {
        out.json(&json::Invite { invite: &invited.invite, expires: when(Some(invited.expires)) })?;
    } else {
        out.line(&invited.invite)?;
        let lets = lets_in(args.uses, &invited);
        out.note(format_args!("{lets}. On the other machine: floodplain join INVITE"));
    }
    Ok(Exit::Done)
}

/// What an invite does, for people.
pub fn lets_in(uses: u32, invited: &Invited) -> impl Display {
    let until = when(Some(invited.expires)).unwrap_or_default();
    match uses {
        1 => format!("It lets in one peer, until {until}"),
        uses => format!("It lets in {uses} peers, until {until}"),
    }
}

/// Shuts a peer out.
pub async fn revoke(data: &Path, out: &mut Output, peer: &str, is_yes: bool) -> Ended {
    let mut admin = Admin::find(data).await?;
    out.confirm(&format!("shut {peer} out of the network, for good?"), is_yes).await?;
    let request = pb::RevokeRequest { peer: peer.to_owned() };
    let revoked = answered(admin.client.revoke(request)).await?.member;
    let revoked = member(revoked.unwrap_or_default()).map_err(malformed)?;
    if out.style.json {
        out.json(&revoked.json())?;
    } else {
        out.rows([[revoked.name, revoked.id, revoked.state.to_owned()]])?;
    }
    Ok(Exit::Done)
}

/// Lists those that were let in.
pub async fn members(data: &Path, out: &mut Output) -> Ended {
    let members = Admin::find(data).await?.members().await?;
    if out.style.json {
        members.iter().try_for_each(|member| out.json(&member.json()))?;
    } else {
        let headings = ["name", "state", "certificate until", "authority", "peer id"];
        out.table(headings, members.iter().map(Member::row))?;
    }
    Ok(Exit::Done)
}

/// Shows or changes the authority.
pub async fn authority(
    data: &Path,
    out: &mut Output,
    action: Option<&AuthorityAction>,
    is_yes: bool,
) -> Ended {
    let mut admin = Admin::find(data).await?;
    let step = match action {
        None | Some(AuthorityAction::Show) => Step::Unspecified,
        Some(AuthorityAction::Begin) => Step::Begin,
        Some(AuthorityAction::Finish { force: false }) => Step::Finish,
        Some(AuthorityAction::Finish { force: true }) => {
            let question = "trust the old key no longer, whoever still holds a certificate of it?";
            out.confirm(question, is_yes).await?;
            Step::Force
        }
    };
    let request = pb::RotateAuthorityRequest { step: step.into() };
    let state = answered(admin.client.rotate_authority(request)).await?;
    let keys = state.authorities.iter().map(|bytes| authority_key(bytes)).collect::<Result<Vec<_>, _>>()?;
    if out.style.json {
        out.json(&json::Authority { keys, members_on_older: state.members_on_older })?;
        return Ok(Exit::Done);
    }
    let newest = keys.len().saturating_sub(1);
    let rows = keys
        .into_iter()
        .enumerate()
        .map(|(number, key)| [key, if number == newest { "newest" } else { "older" }.to_owned()]);
    out.rows(rows)?;
    if newest > 0 {
        let count = state.members_on_older;
        out.note(format_args!(
            "{count} members hold certificates of an older key; `floodplain authority finish` ends the change"
        ));
    }
    Ok(Exit::Done)
}

fn authority_key(bytes: &[u8]) -> Result<String, ActionError> {
    let bytes = <[u8; PublicKey::SIZE]>::try_from(bytes);
    bytes
        .map(|bytes| PublicKey::from_bytes(bytes).to_string())
        .map_err(|_| malformed(Invalid::new("authorities", "must be 32 bytes each")))
}

/// Writes an invite into a file for peers that start beside the registry, and a new one in good time, until it is dropped.
/// The file is its owner's alone and is replaced whole.
///
/// # Errors
/// When the registry makes none, or the file cannot be written.
pub async fn keep_written(registry_data: PathBuf, file: PathBuf) -> Result<(), Failure> {
    loop {
        write_invite(&registry_data, &file).await?;
        tokio::time::sleep(WRITTEN_LIFETIME / 2).await;
    }
}

/// How long an invite in a file is good, and how many it lets in: whoever can read the file.
const WRITTEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const WRITTEN_USES: u32 = 10_000;

async fn write_invite(registry_data: &Path, file: &Path) -> Result<(), Failure> {
    let invited = Admin::of(registry_data).await?.invite(WRITTEN_USES, WRITTEN_LIFETIME, None).await?;
    let written = crate::net::secret_file::save(file, &format!("{}\n", invited.invite));
    written.map_err(|error| Failure::failed(format!("{error:#}")))?;
    let until = when(Some(invited.expires)).unwrap_or_default();
    tracing::info!(file = %file.display(), until, "wrote an invite");
    Ok(())
}
