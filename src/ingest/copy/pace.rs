//! How much to send in one COPY where bad rows are turned away.
//!
//! With `d` rows between two bad ones and COPYs of `p` rows, there are `d / p` COPYs more than there need be, and half of `p` has to be sent
//! again. So the least in all is at `p = √(2 · d · cost of a COPY)`, the cost counted in rows.
//!
//! What a COPY costs beside its rows is not the same for all sizes. PostgreSQL makes a slot for each row that it buffers, up to 1,000, and
//! remembers the table's row type once for each, in a hash table in which they all collide: for 1,000 rows that takes as long as to
//! insert 800 of them, for 300 rows next to nothing. So a COPY has either few rows, or many more than 1,000.

/// What a COPY costs that fills the server's buffer, in rows …
const COPY_COST_ROWS: f64 = 1_000.0;
/// … so many rows do not …
const ROWS_FEW: f64 = 300.0;
/// … and where bad rows are closer together than this, it is so many that are sent.
const SPACING_DENSE: f64 = 6_000.0;

/// A segment is closed when it has this many bytes, at first; it grows with what has been taken, because each savepoint is one more
/// subtransaction, of which PostgreSQL likes a transaction to have few …
const BYTES_MAX_FIRST: usize = 8 << 20;
/// … up to this.
const BYTES_MAX: usize = 32 << 20;
/// How many segments a load is cut into before they grow.
const SEGMENTS_FEW: usize = 32;

/// By how far apart the bad rows have been.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// rows between two bad ones, on average
    spacing: f64,
    /// rows taken since the last one
    since: f64,
    /// bytes taken in all
    bytes: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { spacing: f64::INFINITY, since: 0.0, bytes: 0 }
    }
}

impl Pace {
    /// How many rows a COPY may have.
    pub(super) fn rows(&self) -> u64 {
        let spacing = self.spacing.max(self.since);
        let rows = if spacing < SPACING_DENSE { ROWS_FEW } else { (2.0 * spacing * COPY_COST_ROWS).sqrt() };
        rows as u64
    }

    /// How many rows a COPY may have when the next bad row comes so many rows after those that were taken.
    pub(super) fn rows_after_a_bad_one(mut self, distance: u64) -> u64 {
        self.went_well(distance, 0);
        self.met_a_bad_row();
        self.rows()
    }

    /// How many bytes a COPY may have.
    pub(super) fn bytes(&self) -> usize {
        (self.bytes / SEGMENTS_FEW).clamp(BYTES_MAX_FIRST, BYTES_MAX)
    }

    pub(super) fn went_well(&mut self, rows: u64, bytes: usize) {
        self.since += rows as f64;
        self.bytes += bytes;
    }

    pub(super) fn met_a_bad_row(&mut self) {
        self.spacing = if self.spacing.is_finite() { (3.0 * self.spacing + self.since) / 4.0 } else { self.since };
        self.since = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_slows_down_where_bad_rows_are_dense_and_recovers() {
        let mut pace = Pace::default();
        assert!(pace.rows() > 1 << 40);
        for _ in 0..10 {
            pace.went_well(1_000, 100_000);
            pace.met_a_bad_row();
        }
        assert_eq!(pace.rows(), 300);
        pace.went_well(100_000, 10_000_000);
        assert!((10_000..20_000).contains(&pace.rows()), "{}", pace.rows());
    }

    #[test]
    fn a_long_load_has_large_segments_and_not_too_large_ones() {
        let mut pace = Pace::default();
        assert_eq!(pace.bytes(), 8 << 20);
        pace.went_well(1, 512 << 20);
        assert_eq!(pace.bytes(), 16 << 20);
        pace.went_well(1, 512 << 30);
        assert_eq!(pace.bytes(), 32 << 20);
    }
}
