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
    exit::{Ended, Exit},
    json::{self, when},
    output::Output,
};
use crate::{
    peer::remote,
    protocol::action::{ActionError, ErrorKind},
    registry::admin::socket_path,
    wire::{
        Invalid,
        admin::{self as wire, InviteAsk, MemberInfo, Rotation, RotationStep},
        pb::{self, registry_admin_service_client::RegistryAdminServiceClient},
    },
};

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

impl Admin {
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

    /// The registry of its own data folder.
    ///
    /// # Errors
    /// `Unreachable` when it does not run.
    pub async fn find_in(folder: &Path) -> Result<Self, ActionError> {
        Self::connect(&socket_path(folder)).await
    }

    async fn connect(socket: &Path) -> Result<Self, ActionError> {
        let channel = channel(socket).await?;
        let client = RegistryAdminServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        Ok(Self { client })
    }

    /// Everybody who was let in, those who were shut out since as well.
    ///
    /// # Errors
    /// `Refused` in a network without keys, or when the registry does not answer.
    pub async fn members(&mut self) -> Result<Vec<MemberInfo>, ActionError> {
        let (mut members, mut page_token) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let request = pb::ListMembersRequest { page_size: PAGE_SIZE, page_token };
            let page = answered(self.client.list_members(request)).await?;
            for found in page.members {
                members.push(wire::member(&found).map_err(malformed)?);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(members)
    }

    /// Takes a step of the change of the authority, and tells how it stands then.
    ///
    /// # Errors
    /// `Refused` when the step is not for now, or when the registry does not answer.
    pub async fn rotation(&mut self, step: RotationStep) -> Result<Rotation, ActionError> {
        let answer = answered(self.client.rotate_authority(wire::to_rotation_step(step))).await?;
        wire::rotation(&answer).map_err(malformed)
    }
}

/// The socket of the registry of a data folder, run by `registry` or by `up`; `None` when there is none.
pub fn socket(data: &Path) -> Option<PathBuf> {
    [socket_path(data), socket_path(&data.join(UP_FOLDER))].into_iter().find(|socket| socket.exists())
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

fn state(member: &MemberInfo) -> &'static str {
    match (member.is_revoked, member.is_live) {
        (true, _) => "revoked",
        (false, true) => "live",
        (false, false) => "away",
    }
}

fn member_line(member: &MemberInfo) -> json::Member<'_> {
    json::Member {
        name: member.name.as_str(),
        peer_id: member.id.to_string(),
        state: state(member),
        enrolled: when(member.enrolled),
        certificate_until: when(member.not_after),
        newest_authority: member.is_newest_authority,
    }
}

fn row(member: &MemberInfo) -> [String; 5] {
    [
        member.name.to_string(),
        state(member).to_owned(),
        when(member.not_after).unwrap_or_default(),
        if member.is_newest_authority { "newest" } else { "older" }.to_owned(),
        member.id.to_string(),
    ]
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
        Code::InvalidArgument => (ErrorKind::Usage, ""),
        Code::Unavailable => (ErrorKind::Unreachable, "is the registry still running?"),
        Code::FailedPrecondition | Code::PermissionDenied | Code::ResourceExhausted => {
            (ErrorKind::Refused, "")
        }
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
    let ask = InviteAsk { lifetime: args.lifetime, uses: args.uses, zone: args.zone };
    let mut admin = Admin::find(data).await?;
    let answer = answered(admin.client.create_invite(wire::to_invite_ask(&ask))).await?;
    let (invite, until) = wire::invite(answer).map_err(malformed)?;
    if out.style.json {
        out.json(&json::Invite { invite: &invite.to_string(), expires: when(until) })?;
    } else {
        out.line(invite)?;
        out.note(format_args!("{}. On the other machine: floodplain join INVITE", lets_in(args.uses, until)));
    }
    Ok(Exit::Done)
}

/// What an invite does, for people.
pub fn lets_in(uses: u32, until: SystemTime) -> impl Display {
    let until = when(until).unwrap_or_default();
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
    let revoked = wire::member(&revoked.unwrap_or_default()).map_err(malformed)?;
    if out.style.json {
        out.json(&member_line(&revoked))?;
    } else {
        out.rows([[revoked.name.to_string(), revoked.id.to_string(), state(&revoked).to_owned()]])?;
    }
    Ok(Exit::Done)
}

/// Lists those that were let in.
pub async fn members(data: &Path, out: &mut Output) -> Ended {
    let members = Admin::find(data).await?.members().await?;
    if out.style.json {
        members.iter().try_for_each(|member| out.json(&member_line(member)))?;
    } else {
        let headings = ["name", "state", "certificate until", "authority", "peer id"];
        out.table(headings, members.iter().map(row))?;
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
        None | Some(AuthorityAction::Show) => RotationStep::Tell,
        Some(AuthorityAction::Begin) => RotationStep::Begin,
        Some(AuthorityAction::Switch) => RotationStep::Switch,
        Some(AuthorityAction::Finish { force: false }) => RotationStep::Finish,
        Some(AuthorityAction::Finish { force: true }) => {
            let question = "trust the old key no longer, whoever still holds a certificate of it?";
            out.confirm(question, is_yes).await?;
            RotationStep::Force
        }
    };
    let rotation = admin.rotation(step).await?;
    let keys: Vec<_> = rotation.authorities.iter().map(ToString::to_string).collect();
    let (count, untold) = (rotation.members_on_older, rotation.live_untold);
    if out.style.json {
        out.json(&json::Authority {
            keys,
            members_on_older: count,
            newest_in_use: rotation.is_newest_used,
            live_untold: untold,
        })?;
        return Ok(Exit::Done);
    }
    let newest = keys.len().saturating_sub(1);
    let rows = keys
        .into_iter()
        .enumerate()
        .map(|(number, key)| [key, if number == newest { "newest" } else { "older" }.to_owned()]);
    out.rows(rows)?;
    if !rotation.is_newest_used {
        out.note(format_args!(
            "the newest key certifies when all live peers know it; {untold} do not yet (`floodplain authority switch` does not wait for them)"
        ));
    } else if newest > 0 {
        out.note(format_args!(
            "{count} members hold certificates of an older key; `floodplain authority finish` ends the change"
        ));
    }
    Ok(Exit::Done)
}
