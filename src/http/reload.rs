//! Files that are replaced while the service runs: certificates, and key sets.

use std::sync::Arc;
use std::time::Duration;

/// How often they are looked at.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// Looks whether something has changed, for ever. `look` uses it if so, and says whether it was; what makes no sense is logged and not used.
pub(super) async fn keep_looking<E: ToString>(what: &'static str, look: impl Fn() -> Result<bool, E> + Send + Sync + 'static) {
    let look = Arc::new(look);
    let mut last_error = String::new();
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        let look = Arc::clone(&look);
        let looked = tokio::task::spawn_blocking(move || look().map_err(|error| error.to_string())).await;
        match looked {
            Ok(Ok(changed)) => {
                last_error.clear();
                if changed {
                    tracing::info!("the {what} was replaced");
                }
            }
            Ok(Err(error)) => {
                if error != last_error {
                    tracing::error!(%error, "the new {what} cannot be used; the one before stays in use");
                }
                last_error = error;
            }
            Err(panic) => tracing::error!(%panic, "looking at the {what}"),
        }
    }
}
