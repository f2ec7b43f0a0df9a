//! `log`: what a running daemon logs, told and changed while it runs.

use std::{path::Path, time::Duration};

use tonic::{Code, transport::Channel};

use super::{
    admin,
    args::LogArgs,
    exit::{Ended, Exit},
    json,
    output::Output,
};
use crate::{
    peer::{control, remote},
    protocol::action::{ActionError, ErrorKind},
    wire::pb::{self, log_service_client::LogServiceClient},
};

/// For one answer. The daemon is on this machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Tells or changes the level of the peer of a data folder, or of its registry.
pub async fn log(data: &Path, out: &mut Output, args: &LogArgs) -> Ended {
    let mut client = LogServiceClient::new(channel(data, args.registry).await?);
    if let Some(level) = &args.level {
        let request = pb::SetLogLevelRequest { level: level.clone() };
        answered(client.set_log_level(request)).await?;
        out.note(format_args!("until it ends; for every start, set FLOODPLAIN_LOG={level}"));
    }
    let level = answered(client.get_log_level(pb::GetLogLevelRequest {})).await?.level;
    if out.style.json {
        out.json(&json::LogLevel { level: &level })?;
    } else {
        out.line(&level)?;
    }
    Ok(Exit::Done)
}

/// The peer stands first, unless the registry is meant.
async fn channel(data: &Path, is_registry: bool) -> Result<Channel, ActionError> {
    let peer = control::socket_path(data);
    match admin::socket(data) {
        Some(registry) if is_registry || !peer.exists() => admin::channel(&registry).await,
        None if is_registry => {
            let message = format!("no registry runs with the data folder {}", data.display());
            let hint = "name its data folder with --data";
            Err(ActionError::new(ErrorKind::Unreachable, message).hint(hint))
        }
        _ => remote::channel(&peer).await,
    }
}

async fn answered<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, ActionError> {
    let answer = tokio::time::timeout(ANSWER_DEADLINE, call).await;
    let answer = answer.map_err(|_| ActionError::new(ErrorKind::TimedOut, "the daemon does not answer"))?;
    answer.map(tonic::Response::into_inner).map_err(|status| {
        let kind = match status.code() {
            Code::InvalidArgument => ErrorKind::Usage,
            Code::Unavailable => ErrorKind::Unreachable,
            _ => ErrorKind::Failed,
        };
        ActionError::new(kind, status.message())
    })
}
