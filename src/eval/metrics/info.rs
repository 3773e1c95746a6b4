//! What is known about a metric before it is measured.

/// One row of the table of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricInfo {
    /// Its name in files, tables and on the command line, as in `forced_choice/object`. One that ends in `*` stands for every name with that beginning.
    pub name: &'static str,
    /// Its name for readers of tables and plots, for the metrics that most reports show; the others have their [`name`](Self::name).
    pub title: Option<&'static str>,
    /// What it measures: one sentence without its full stop.
    pub meaning: &'static str,
    /// Unit of its values, as in `share of prompts`.
    pub unit: &'static str,
    /// Which of two values is better.
    pub better: MetricDirection,
    /// Digits behind the point in tables.
    pub decimals: usize,
}

/// Which of two values of a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricDirection {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
    /// Neither: the metric describes, or has its best value in between.
    Neither,
}

impl MetricInfo {
    /// A metric whose higher values are better, with three digits in tables.
    pub const fn higher(name: &'static str, meaning: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            title: None,
            meaning,
            unit,
            better: MetricDirection::Higher,
            decimals: 3,
        }
    }

    /// A metric whose lower values are better, with three digits in tables.
    pub const fn lower(name: &'static str, meaning: &'static str, unit: &'static str) -> Self {
        let better = MetricDirection::Lower;
        Self {
            better,
            ..Self::higher(name, meaning, unit)
        }
    }

    /// A metric that describes, or whose best value lies in between; with three digits in tables.
    pub const fn neither(name: &'static str, meaning: &'static str, unit: &'static str) -> Self {
        let better = MetricDirection::Neither;
        Self {
            better,
            ..Self::higher(name, meaning, unit)
        }
    }

    /// The same with so many digits.
    pub const fn with_decimals(self, decimals: usize) -> Self {
        Self { decimals, ..self }
    }

    /// The same with a name for readers.
    pub const fn titled(self, title: &'static str) -> Self {
        Self {
            title: Some(title),
            ..self
        }
    }

    /// Whether this row is that of the metric `name`.
    pub fn describes(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.name,
        }
    }

    /// Meaning, unit and direction in one sentence: for glossaries, tooltips and `--help`.
    pub fn sentence(&self) -> String {
        let Self {
            meaning,
            unit,
            better,
            ..
        } = self;
        match better {
            MetricDirection::Neither => format!("{meaning} ({unit})"),
            _ => format!("{meaning} ({unit}; {})", better.words()),
        }
    }
}

impl MetricDirection {
    /// As in "lower is better"; empty for [`MetricDirection::Neither`].
    pub fn words(self) -> &'static str {
        match self {
            Self::Higher => "higher is better",
            Self::Lower => "lower is better",
            Self::Neither => "",
        }
    }

    /// One word for a column of tables: `higher`, `lower` or nothing.
    pub fn word(self) -> &'static str {
        self.words().split(' ').next().unwrap_or_default()
    }

    /// The mark behind a heading: an arrow that points to better values, or nothing.
    pub fn arrow(self) -> &'static str {
        match self {
            Self::Higher => " ↑",
            Self::Lower => " ↓",
            Self::Neither => "",
        }
    }

    /// Whether `value` is better than `other`. Equal values, and all of [`MetricDirection::Neither`], are not.
    pub fn is_better(self, value: f64, other: f64) -> bool {
        match self {
            Self::Higher => value > other,
            Self::Lower => value < other,
            Self::Neither => false,
        }
    }

    /// The best of `values`; none for [`MetricDirection::Neither`] or without values.
    pub fn best(self, values: impl Iterator<Item = f64>) -> Option<f64> {
        match self {
            Self::Higher => values.reduce(f64::max),
            Self::Lower => values.reduce(f64::min),
            Self::Neither => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_choose() {
        let values = [0.5, 0.2, 0.9];
        let best = |direction: MetricDirection| direction.best(values.into_iter());
        assert_eq!(best(MetricDirection::Higher), Some(0.9));
        assert_eq!(best(MetricDirection::Lower), Some(0.2));
        assert_eq!(best(MetricDirection::Neither), None);
        assert!(MetricDirection::Lower.is_better(0.2, 0.5) && !MetricDirection::Lower.is_better(0.5, 0.5));
        assert!(!MetricDirection::Neither.is_better(0.2, 0.5));
    }
}
