//! The table of a comparison: what was measured, what is published, what is missing.

use super::error::ComparisonError;
use super::folders::Folders;
use super::preferences::Preference;
use super::published::{PublishedScore, PublishedSystem};
use super::score::result_path;
use super::spec::{Column, Comparison};
use super::system::System;
use crate::eval::image_score::ImageScore;
use crate::generate::layout::PipelineLayout;
use crate::generate::params::ParamCounts;

/// A cell of the table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cell {
    /// The result on this machine.
    pub measured: Option<ImageScore>,
    /// What differs between its protocol and that of the column's other measured numbers.
    pub differs: Option<String>,
    /// The published number.
    pub published: Option<PublishedScore>,
    /// Why nothing was measured.
    pub missing: Option<String>,
    /// Whether the measured number is the best of those of one protocol, of two or more.
    pub is_best: bool,
    /// Whether the published number is the best of those without a footnote.
    pub is_best_published: bool,
}

/// The row of a system.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The system.
    pub system: System,
    /// What is published about it.
    pub published: PublishedSystem,
    /// Parameters of prior and base decoder in millions, counted in its folders.
    pub total_counted: Option<f64>,
    /// A cell for each column.
    pub cells: Vec<Cell>,
}

/// A point of the scatter plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The system's label.
    pub label: String,
    /// Parameters in millions.
    pub parameters: f64,
    /// Mean of the columns.
    pub mean: f64,
    /// Whether the mean was measured here, as opposed to published.
    pub is_measured: bool,
}

/// What a comparison says.
#[derive(Debug, Clone)]
pub struct Results {
    /// Its specification.
    pub comparison: Comparison,
    /// A row for each system.
    pub rows: Vec<Row>,
    /// Preferences.
    pub preferences: Vec<Preference>,
}

impl Results {
    /// Reads the results in `folders`.
    ///
    /// # Errors
    /// [`ComparisonError`] for a result that cannot be read.
    pub fn read(comparison: &Comparison, folders: &Folders) -> Result<Self, ComparisonError> {
        let mut rows = Vec::new();
        for system in &comparison.systems {
            let published = comparison
                .published
                .systems
                .get(&system.name)
                .cloned()
                .unwrap_or_default();
            let mut cells = Vec::new();
            for column in &comparison.columns {
                cells.push(comparison.cell(folders, system, column, &published)?);
            }
            rows.push(Row {
                system: system.clone(),
                published,
                total_counted: counted(system),
                cells,
            });
        }
        for (i, column) in comparison.columns.iter().enumerate() {
            compare(&mut rows, i, column);
        }
        let preferences = comparison.preferences.iter();
        let preferences = preferences.map(|spec| comparison.preference(folders, spec));
        Ok(Self {
            comparison: comparison.clone(),
            rows,
            preferences: preferences.collect::<Result<_, _>>()?,
        })
    }

    /// The number of measured cells, and of all cells of systems that can be measured.
    pub fn n_measured(&self) -> (usize, usize) {
        let rows = self.rows.iter().filter(|row| row.system.can_be_measured());
        let cells: Vec<&Cell> = rows.flat_map(|row| &row.cells).collect();
        let measured = cells.iter().filter(|cell| cell.measured.is_some());
        (measured.count(), cells.len())
    }

    /// The points of the scatter plot: of each system the published mean and the measured one, where all columns have it and the parameters are known.
    pub fn points(&self) -> Vec<Point> {
        let Some(scatter) = &self.comparison.scatter else {
            return Vec::new();
        };
        let is_of = |column: &Column| scatter.columns.contains(&column.name);
        let columns: Vec<usize> = (0..self.comparison.columns.len())
            .filter(|i| is_of(&self.comparison.columns[*i]))
            .collect();
        let mut points = Vec::new();
        for row in &self.rows {
            let published = |cell: &Cell| cell.published.as_ref().map(|score| score.value);
            let measured = |cell: &Cell| cell.measured.as_ref().map(|score| score.value);
            let mean = |of: &dyn Fn(&Cell) -> Option<f64>| -> Option<f64> {
                let values: Option<Vec<f64>> = columns.iter().map(|i| of(&row.cells[*i])).collect();
                values.map(|values| values.iter().sum::<f64>() / values.len().max(1) as f64)
            };
            for (is_measured, mean, total) in [
                (false, mean(&published), row.published.total),
                (true, mean(&measured), row.total_counted.or(row.published.total)),
            ] {
                if let (Some(mean), Some(parameters)) = (mean, total) {
                    points.push(Point {
                        label: row.system.label.clone(),
                        parameters,
                        mean,
                        is_measured,
                    });
                }
            }
        }
        points
    }
}

impl Comparison {
    fn cell(
        &self,
        folders: &Folders,
        system: &System,
        column: &Column,
        published: &PublishedSystem,
    ) -> Result<Cell, ComparisonError> {
        let mut cell = Cell {
            published: published.scores.get(&column.name).cloned(),
            ..Cell::default()
        };
        let Some(set) = self.prompts.iter().find(|set| set.name == column.prompts) else {
            return Ok(cell);
        };
        let path = result_path(&folders.eval(system, set), &column.metric);
        if system.can_be_measured() && path.is_file() {
            cell.measured = Some(ImageScore::read(&path)?);
        } else {
            let why = self.without_score(folders, system, set, &column.metric);
            cell.missing = Some(why.unwrap_or_else(|| "not scored yet".into()));
        }
        Ok(cell)
    }
}

/// Parameters of prior and base decoder in millions, where the system's networks are on this machine.
fn counted(system: &System) -> Option<f64> {
    let pipeline = system
        .pipeline
        .as_deref()
        .filter(|_| system.lacking().is_none())?;
    let layout = PipelineLayout::open(pipeline, system.prior.as_deref(), system.clip.as_deref()).ok()?;
    // A pipeline that cannot be read fails where it is to draw.
    let counts = ParamCounts::of(&layout).ok()?;
    Some(counts.paper_total() as f64 / 1e6)
}

/// Marks other protocols and the best numbers of a column.
fn compare(rows: &mut [Row], column: usize, spec: &Column) {
    let results: Vec<(usize, ImageScore)> = rows
        .iter()
        .enumerate()
        .filter_map(|(i, row)| Some((i, row.cells[column].measured.clone()?)))
        .collect();
    let path = std::path::Path::new("");
    let same = |a: &ImageScore, b: &ImageScore| a.minus(b, path).is_ok();
    // The protocol that most have, the first of several.
    let count = |one: &ImageScore| results.iter().filter(|(_, other)| same(one, other)).count();
    let most = results.iter().map(|(_, one)| count(one)).max().unwrap_or(0);
    let usual = results.iter().map(|(_, one)| one).find(|one| count(one) == most);
    let Some(usual) = usual.cloned() else {
        return best_published(rows, column, spec);
    };
    for (i, result) in &results {
        let differs = result.minus(&usual, path).err();
        rows[*i].cells[column].differs =
            differs.map(|d| format!("{} is {}, {} for most of the column", d.key, d.here, d.there));
    }
    let comparable = || results.iter().filter(|(_, one)| same(one, &usual));
    if comparable().count() > 1 {
        let best = spec.better().best(comparable().map(|(_, one)| one.value));
        for (i, result) in comparable() {
            rows[*i].cells[column].is_best = Some(result.value) == best;
        }
    }
    best_published(rows, column, spec);
}

fn best_published(rows: &mut [Row], column: usize, spec: &Column) {
    let of = |cell: &Cell| {
        let score = cell.published.as_ref().filter(|score| score.notes.is_empty());
        score.map(|score| score.value)
    };
    let values: Vec<f64> = rows.iter().filter_map(|row| of(&row.cells[column])).collect();
    let best = spec
        .better()
        .best(values.iter().copied())
        .filter(|_| values.len() > 1);
    for row in rows {
        let cell = &mut row.cells[column];
        cell.is_best_published = best.is_some() && of(cell) == best;
    }
}
