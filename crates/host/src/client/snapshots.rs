//! Machines in files.

use hyper::Method;

use super::{Client, ClientError, Events, escaped};
use crate::api::{CloneRequest, ResumeRequest, SnapshotEvent, SuspendRequest};

impl Client {
    /// Writes a machine to a file, and tells how that goes on. To drop what is returned ends it,
    /// unless it is about to be complete: the machine runs on then.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn suspend(
        &self,
        name: &str,
        request: &SuspendRequest,
    ) -> Result<Events<SnapshotEvent>, ClientError> {
        let path = format!("/machines/{}/snapshots", escaped(name));
        self.events(Method::POST, &path, Some(request)).await
    }

    /// Runs a machine from a file, and tells how that goes on. To drop what is returned ends it,
    /// unless the machine is about to run.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn resume(
        &self,
        request: &ResumeRequest,
    ) -> Result<Events<SnapshotEvent>, ClientError> {
        self.events(Method::POST, "/resumptions", Some(request)).await
    }

    /// Runs a second machine like one that runs, and tells how that goes on. To drop what is
    /// returned ends it; the first machine runs on in any case.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn clone_machine(
        &self,
        name: &str,
        request: &CloneRequest,
    ) -> Result<Events<SnapshotEvent>, ClientError> {
        let path = format!("/machines/{}/clones", escaped(name));
        self.events(Method::POST, &path, Some(request)).await
    }
}
