//! The log level over a daemon's own socket, which nobody but its owner can open.

use tonic::{Request, Response, Status};

use super::level::{LevelError, level, set_level};
use crate::{
    protocol::name::Printable,
    wire::{
        Invalid, bounded,
        pb::{
            self,
            log_service_server::{LogService, LogServiceServer},
        },
    },
};

/// Longest list of directives.
const MAX_LEVEL_BYTES: usize = 1024;
/// Largest request.
const MAX_REQUEST_BYTES: usize = 2048;

/// The service; it speaks for the whole process.
#[derive(Debug, Clone, Copy)]
pub struct Logs;

impl Logs {
    /// To be added to a server.
    pub fn service() -> LogServiceServer<Self> {
        LogServiceServer::new(Self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }
}

#[tonic::async_trait]
impl LogService for Logs {
    async fn get_log_level(
        &self,
        _: Request<pb::GetLogLevelRequest>,
    ) -> Result<Response<pb::GetLogLevelResponse>, Status> {
        Ok(Response::new(pb::GetLogLevelResponse { level: level().map_err(refused)? }))
    }

    async fn set_log_level(
        &self,
        request: Request<pb::SetLogLevelRequest>,
    ) -> Result<Response<pb::SetLogLevelResponse>, Status> {
        let text = bounded("level", request.into_inner().level, MAX_LEVEL_BYTES)?;
        set_level(&text).map_err(refused)?;
        Ok(Response::new(pb::SetLogLevelResponse {}))
    }
}

fn refused(error: LevelError) -> Status {
    match error {
        LevelError::Invalid(problem) => Invalid::new("level", Printable(&problem).to_string()).into(),
        LevelError::NotStarted => Status::failed_precondition(error.to_string()),
    }
}
