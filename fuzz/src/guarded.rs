//! Panics in the libraries for Arrow and Parquet, of which the product makes a refusal (`ingest/batch`, `guarded`). They are no findings
//! as long as it does, and each place is told once. A panic in any other code is a finding at once, whoever catches it.

use std::collections::HashSet;
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::Mutex;

static PLACES: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// To be called once, in place of the hook that ends the process at every panic. One that nobody catches still ends it.
pub fn watch() {
    let end = take_hook();
    set_hook(Box::new(move |panic| match place_in_library(panic) {
        Some(place) => {
            let mut places = PLACES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if places.get_or_insert_default().insert(place) {
                eprintln!("a library panics: {panic}");
            }
        }
        None => end(panic),
    }));
}

fn place_in_library(panic: &PanicHookInfo<'_>) -> Option<String> {
    let place = panic.location()?;
    let (_, file) = place.file().split_once("/registry/src/")?;
    let (_, library) = file.split_once('/')?;
    ["arrow-", "parquet-", "flatbuffers-"]
        .iter()
        .any(|name| library.starts_with(name))
        .then(|| place.to_string())
}
