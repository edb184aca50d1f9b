//! Machines in files.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;

use super::{Request, Shared, blocking, told};
use crate::api::{CloneRequest, Problem, ResumeRequest, SuspendRequest};
use crate::host::Host;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/machines/{name}/snapshots", post(suspend))
        .route("/machines/{name}/clones", post(clone))
        .route("/resumptions", post(resume))
}

async fn suspend(
    State(host): Shared,
    Path(name): Path<String>,
    Request(request): Request<SuspendRequest>,
) -> Result<Response, Problem> {
    blocking(move || host.suspend(&name, &request)).await.map(told)
}

async fn clone(
    State(host): Shared,
    Path(name): Path<String>,
    Request(request): Request<CloneRequest>,
) -> Result<Response, Problem> {
    blocking(move || host.clone_machine(&name, &request)).await.map(told)
}

async fn resume(
    State(host): Shared,
    Request(request): Request<ResumeRequest>,
) -> Result<Response, Problem> {
    blocking(move || host.resume(&request)).await.map(told)
}
