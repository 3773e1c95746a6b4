//! Concatenates sources of one kind.

use std::path::PathBuf;

use super::item::SourceError;
use super::reader::{Items, Reader};

pub(super) struct Joined {
    readers: Vec<Box<dyn Reader>>,
    notes: Vec<String>,
}

impl Joined {
    pub(super) fn new(readers: Vec<Box<dyn Reader>>, notes: Vec<String>) -> Self {
        Self { readers, notes }
    }

    /// The reader of a unit, and the unit's number in this reader.
    fn at(&self, unit: usize) -> Option<(&dyn Reader, usize)> {
        let mut unit = unit;
        for reader in &self.readers {
            if unit < reader.n_units() {
                return Some((reader.as_ref(), unit));
            }
            unit -= reader.n_units();
        }
        None
    }
}

impl Reader for Joined {
    fn n_units(&self) -> usize {
        self.readers.iter().map(|r| r.n_units()).sum()
    }

    fn unit_name(&self, unit: usize) -> String {
        self.at(unit)
            .map_or_else(String::new, |(reader, unit)| reader.unit_name(unit))
    }

    fn n_records(&self) -> Option<usize> {
        self.readers.iter().map(|r| r.n_records()).sum()
    }

    fn notes(&self) -> Vec<String> {
        let own = self.notes.iter().cloned();
        own.chain(self.readers.iter().flat_map(|r| r.notes())).collect()
    }

    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError> {
        match self.at(unit) {
            Some((reader, unit)) => reader.unit(unit),
            None => Ok(Box::new(std::iter::empty())),
        }
    }

    fn files(&self, unit: usize) -> Vec<PathBuf> {
        self.at(unit)
            .map_or_else(Vec::new, |(reader, unit)| reader.files(unit))
    }

    fn identity(&self) -> Result<String, SourceError> {
        let each = self.readers.iter().map(|r| r.identity());
        Ok(each.collect::<Result<Vec<_>, _>>()?.join("\n"))
    }
}
