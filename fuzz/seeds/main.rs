//! Writes the corpora that fuzzing begins with: `seeds DIRECTORY` makes a directory of inputs for each target in it.
//!
//! Texts are those of tests/data; bodies in Arrow and Parquet are written here, by their libraries' own writers.

mod bodies;
mod texts;

use std::io;
use std::path::{Path, PathBuf};

use pgsluice_fuzz::families::{self, Family};

/// The inputs of one target.
struct Corpus {
    dir: PathBuf,
    count: usize,
}

impl Corpus {
    fn create(all: &Path, target: &str) -> io::Result<Corpus> {
        let dir = all.join(target);
        std::fs::create_dir_all(&dir)?;
        Ok(Corpus { dir, count: 0 })
    }

    fn add(&mut self, settings: &[u8], rest: &[u8]) -> io::Result<()> {
        self.count += 1;
        std::fs::write(self.dir.join(format!("seed-{:05}", self.count)), [settings, rest].concat())
    }
}

fn main() -> io::Result<()> {
    let all = std::env::args_os().nth(1).map(PathBuf::from);
    let all = all.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "usage: seeds DIRECTORY"))?;
    let families: [(&str, &Family); 6] = [
        ("scalars", &families::SCALARS),
        ("numeric", &families::NUMERIC),
        ("text", &families::TEXT),
        ("temporal", &families::TEMPORAL),
        ("network", &families::NETWORK),
        ("containers", &families::CONTAINERS),
    ];
    for (target, family) in families {
        let mut corpus = Corpus::create(&all, target)?;
        for text in texts::sections(family.sections)? {
            for which in 0..family.kinds.len() {
                corpus.add(&[which as u8], text.as_bytes())?;
            }
        }
    }
    bodies::csv(&mut Corpus::create(&all, "csv")?)?;
    bodies::ndjson(&mut Corpus::create(&all, "ndjson")?)?;
    bodies::arrow(&mut Corpus::create(&all, "arrow")?)?;
    bodies::parquet(&mut Corpus::create(&all, "parquet")?)?;
    bodies::decompress(&mut Corpus::create(&all, "decompress")?)
}
