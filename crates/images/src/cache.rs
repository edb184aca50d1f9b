//! Where `make setup` puts what it fetches.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use serde::de::DeserializeOwned;

/// Why something that `make setup` provides cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Neither `PUNCTUAL_CACHE` nor `HOME` is set.
    #[error("the cache has no place: set PUNCTUAL_CACHE or HOME")]
    NoPlace,
    /// The description is not there.
    #[error("{} cannot be read: {source}; run `make setup`", path.display())]
    Missing {
        /// Where it ought to be.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The description cannot be understood.
    #[error("{} is not what `make setup` writes: {source}; delete its directory and run `make setup`", path.display())]
    Malformed {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        source: toml::de::Error,
    },
}

/// The cache's directory: the same rule as in `setup/say.sh`.
pub(crate) fn directory() -> Result<PathBuf, CacheError> {
    let said = env::var_os("PUNCTUAL_CACHE").filter(|value| !value.is_empty());
    let home = env::var_os("HOME").filter(|value| !value.is_empty());
    match (said, home) {
        (Some(place), _) => Ok(place.into()),
        (None, Some(home)) => Ok(Path::new(&home).join(".cache/punctual")),
        (None, None) => Err(CacheError::NoPlace),
    }
}

/// Reads a description that a set-up script wrote.
pub(crate) fn describe<T: DeserializeOwned>(file: &str) -> Result<T, CacheError> {
    let path = directory()?.join(file);
    let text = fs::read_to_string(&path)
        .map_err(|source| CacheError::Missing { path: path.clone(), source })?;
    toml::from_str(&text).map_err(|source| CacheError::Malformed { path, source })
}
