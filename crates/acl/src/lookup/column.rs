//! The networks of one address family, stored in columns. Data that a lookup reads together is stored together.
//! Optional data costs memory only if an entry has it.

use std::cmp::Ordering;
use std::ops::Range;

use super::Key;

/// All entries of one address family, numbered from 0. After the last entry was added, each run is sorted. Then
/// tables refer to entries by number.
#[derive(Clone, Debug)]
pub(crate) struct Column<K> {
    starts: Vec<K>,
    lens: Vec<u8>,
    lines: Vec<u32>,
    /// The numbers of the metadata of the entries, 0 for none. Empty as long as no entry has metadata.
    metas: Vec<u32>,
}

/// One entry, as used while the entries are sorted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<K> {
    pub(crate) start: K,
    pub(crate) len: u8,
    pub(crate) line: u32,
    pub(crate) meta: u32,
}

impl<K: Key> Column<K> {
    pub(crate) fn len(&self) -> usize {
        self.lens.len()
    }

    pub(crate) fn push(&mut self, row: Row<K>) {
        if row.meta != 0 && self.metas.is_empty() {
            self.metas.resize(self.len(), 0);
        }
        if row.meta != 0 || !self.metas.is_empty() {
            self.metas.push(row.meta);
        }
        self.starts.push(row.start);
        self.lens.push(row.len);
        self.lines.push(row.line);
    }

    /// Sorts a run by start, then by length. Among equal prefixes the one that `better` orders last comes last. If
    /// `better` finds them equal, the first one comes last.
    pub(crate) fn sort(&mut self, run: Range<u32>, better: impl Fn(Row<K>, Row<K>) -> Ordering) {
        let mut rows: Vec<Row<K>> = run.clone().rev().filter_map(|id| self.row(id)).collect();
        rows.sort_by(|a, b| (a.start, a.len).cmp(&(b.start, b.len)).then_with(|| better(*a, *b)));
        for (id, row) in run.zip(rows) {
            self.put(id, row);
        }
    }

    pub(crate) fn seal(&mut self) {
        self.starts.shrink_to_fit();
        self.lens.shrink_to_fit();
        self.lines.shrink_to_fit();
        self.metas.shrink_to_fit();
    }

    #[inline]
    pub(crate) fn start(&self, id: u32) -> Option<K> {
        self.starts.get(usize::try_from(id).ok()?).copied()
    }

    #[inline]
    pub(super) fn starts(&self, from: usize, to: usize) -> Option<&[K]> {
        self.starts.get(from..to)
    }

    pub(crate) fn prefix(&self, id: u32) -> Option<(K, u8)> {
        let at = usize::try_from(id).ok()?;
        Some((*self.starts.get(at)?, *self.lens.get(at)?))
    }

    pub(crate) fn row(&self, id: u32) -> Option<Row<K>> {
        let at = usize::try_from(id).ok()?;
        let (start, len) = self.prefix(id)?;
        Some(Row { start, len, line: *self.lines.get(at)?, meta: self.metas.get(at).copied().unwrap_or(0) })
    }

    /// Returns the memory on the heap in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        let words = (self.lines.capacity() + self.metas.capacity()) * size_of::<u32>();
        self.starts.capacity() * size_of::<K>() + self.lens.capacity() + words
    }

    fn put(&mut self, id: u32, row: Row<K>) {
        let Ok(at) = usize::try_from(id) else { return };
        if let (Some(start), Some(len), Some(line)) =
            (self.starts.get_mut(at), self.lens.get_mut(at), self.lines.get_mut(at))
        {
            (*start, *len, *line) = (row.start, row.len, row.line);
        }
        if let Some(meta) = self.metas.get_mut(at) {
            *meta = row.meta;
        }
    }
}

impl<K> Default for Column<K> {
    fn default() -> Self {
        Self { starts: Vec::new(), lens: Vec::new(), lines: Vec::new(), metas: Vec::new() }
    }
}
