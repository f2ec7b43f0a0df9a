//! The `OpenAPI` of the handlers: what they say themselves, and what is true of all.

use axum::response::IntoResponse;
use http::header;
use utoipa::{
    OpenApi,
    openapi::{
        self, Content, HeaderBuilder, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder, Type,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    people::Reply,
    routes,
    searches::Zones,
    transfers::{Control, Direction, Priority, TransferState},
};
use crate::web::problem::{MEDIA_TYPE, ProblemBody};

/// Media type of any bytes.
pub(super) const BYTES: &str = "application/octet-stream";
/// What any route may answer.
const COMMON: [(&str, &str); 8] = [
    ("400", "The request makes no sense"),
    ("401", "Neither the token nor a session came with it"),
    ("403", "It comes from elsewhere, or to another name"),
    ("500", "The gateway failed at it"),
    ("502", "A peer or the registry cannot be reached"),
    ("503", "Too much is under way, or the peer is stopping"),
    ("504", "It took too long"),
    ("409", "It is refused as things are"),
];
/// What a route with a body may answer besides.
const WITH_BODY: [(&str, &str); 2] =
    [("413", "The body is too large"), ("415", "The body is of a type that is not taken")];
/// What a POST may answer besides.
const REPEATED: (&str, &str) = ("422", "The Idempotency-Key came with another request before");

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Floodplain",
        description = "The REST interface of a peer. How to get the token, and examples: docs/REST.md.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(ProblemBody<'static>, Control, Direction, Priority, Reply, TransferState, Zones)),
    security(("token" = []), ("session" = [])),
)]
struct Base;

/// What is not said of one route alone.
pub(super) fn base() -> openapi::OpenApi {
    Base::openapi()
}

/// Made anew at each request: few ask, and it would take memory all the time.
pub(super) async fn openapi_json() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], axum::Json(whole()))
}

fn whole() -> openapi::OpenApi {
    let mut api = routes().split_for_parts().1;
    // The router's word for a path of several segments.
    let paths = std::mem::take(&mut api.paths.paths);
    api.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    finish(&mut api);
    api
}

/// Adds what all routes of a gateway have in common: how a request shows that it is the owner's, and what else it may be answered.
pub(in crate::web) fn finish(api: &mut openapi::OpenApi) {
    let components = api.components.get_or_insert_default();
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("token", SecurityScheme::Http(token));
    let session = ApiKey::Cookie(ApiKeyValue::new("floodplain-PORT"));
    components.add_security_scheme("session", SecurityScheme::ApiKey(session));
    for item in api.paths.paths.values_mut() {
        let PathItem { get, put, post, delete, head, .. } = item;
        for operation in [get, put, delete, head].into_iter().flatten() {
            complete(operation, false);
        }
        if let Some(operation) = post {
            complete(operation, true);
        }
    }
}

/// Adds what all routes have in common, and to every problem what it looks like.
fn complete(operation: &mut Operation, is_post: bool) {
    let mut common: Vec<_> = COMMON.to_vec();
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        common.extend(WITH_BODY);
        if let Some(RefOr::T(bytes)) = body.content.get_mut(BYTES) {
            // Any bytes, none included.
            bytes.schema = None;
            body.required = Some(Required::False);
        }
    }
    if is_post {
        common.push(REPEATED);
        operation.parameters.get_or_insert_default().push(idempotency_key().into());
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in common {
        responses
            .entry(status.into())
            .or_insert_with(|| RefOr::T(ResponseBuilder::new().description(description).build()));
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        if let Some(RefOr::T(bytes)) = response.content.get_mut(BYTES) {
            bytes.schema = None;
        }
        if status.starts_with(['4', '5']) && response.content.is_empty() {
            let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
            response.content.insert(MEDIA_TYPE.into(), Content::new(Some(schema)).into());
        }
        let told = match status.as_str() {
            "401" => "WWW-Authenticate",
            "503" => "Retry-After",
            _ => continue,
        };
        let text = RefOr::T(ObjectBuilder::new().schema_type(Type::String).build().into());
        response.headers.insert(told.into(), HeaderBuilder::new().schema(Some(text)).build().into());
    }
}

fn idempotency_key() -> Parameter {
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(64))
        .pattern(Some("^[!-~]+$"))
        .build();
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("A repeated request with the same key does nothing twice within ten minutes"))
        .schema(Some(key))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_says_what_it_answers_when_it_fails() {
        let json = serde_json::to_value(whole()).expect("JSON");
        let paths = json["paths"].as_object().expect("paths");
        assert!(paths.len() >= 25, "{}", paths.len());
        for (path, item) in paths {
            for (method, operation) in item.as_object().expect("methods") {
                let responses = operation["responses"].as_object().expect("answers");
                assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
                for (status, response) in
                    responses.iter().filter(|(status, _)| status.starts_with(['4', '5']))
                {
                    let problem = &response["content"][MEDIA_TYPE]["schema"]["$ref"];
                    assert_eq!(problem, "#/components/schemas/Problem", "{method} {path} {status}");
                }
                assert!(responses.contains_key("401"), "{method} {path}");
            }
        }
        assert!(json["components"]["schemas"]["Problem"]["properties"]["hint"].is_object());
    }
}
