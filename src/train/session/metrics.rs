//! burn-train's metrics and renderer of a session: values go to the metric sink, validation losses to the checkpointing strategy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use burn::tensor::TensorReadError;
use burn::train::Interrupter;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{Metric, MetricDefinition, MetricMetadata, MetricName, SerializedEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};

use super::super::checkpoint::Scores;
use super::error::TrainError;
use super::options::{MetricSink, Phase, StepReport};

/// The metric that passes every step's values, the means over the workers, to the sink and stops the run if a value is not finite.
#[derive(Clone)]
pub(super) struct StepMetric {
    pub(super) sink: Arc<Mutex<MetricSink>>,
    pub(super) interrupter: Interrupter,
    pub(super) failure: Arc<Mutex<Option<TrainError>>>,
    pub(super) checkpoint_every: usize,
    pub(super) workers: usize,
    /// Steps that some workers have not yet reported.
    pub(super) unfinished: BTreeMap<usize, Vec<Named>>,
}

/// Named values.
type Named = Vec<(&'static str, f32)>;

impl StepMetric {
    /// The means over all workers, when the last of them has reported the step.
    fn complete(&mut self, step: usize, values: Named) -> Option<Named> {
        let reports = self.unfinished.entry(step).or_default();
        reports.push(values);
        if reports.len() < self.workers {
            return None;
        }
        let reports = self.unfinished.remove(&step)?;
        let n = reports.len() as f32;
        let mean = |i: usize| reports.iter().map(|report| report[i].1).sum::<f32>() / n;
        let names = reports[0].iter().map(|(name, _)| *name);
        Some(names.enumerate().map(|(i, name)| (name, mean(i))).collect())
    }

    fn fail(&self, error: TrainError) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
        self.interrupter.stop(None);
    }

    fn write(&self, phase: Phase, step: usize, values: &[(&str, f32)]) {
        let written = self.sink.lock().map(|mut sink| sink(phase, step, values));
        if let Ok(Err(error)) = written {
            self.fail(error.into());
        }
    }
}

/// The values of a report, on the host.
fn values_of(report: &StepReport) -> Result<Named, TensorReadError> {
    let values: Vec<f32> = report.values.clone().try_into_data()?.iter::<f32>().collect();
    Ok(report.names.iter().copied().zip(values).collect())
}

impl Metric for StepMetric {
    type Input = StepReport;

    fn name(&self) -> MetricName {
        Arc::new("steps".into())
    }

    fn update(
        &mut self,
        report: &StepReport,
        _: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let Some(named) = self.complete(report.step, values_of(report)?) else {
            return Ok(SerializedEntry::not_available(None));
        };
        if let Some(&(name, value)) = named.iter().find(|(_, value)| !value.is_finite()) {
            let checkpoint = (report.step - 1) / self.checkpoint_every * self.checkpoint_every;
            self.fail(TrainError::NonFinite {
                step: report.step,
                name: name.into(),
                value,
                checkpoint,
            });
        }
        self.write(Phase::Train, report.step, &named);
        Ok(SerializedEntry::not_available(None))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::not_available(None))
    }

    fn clear(&mut self) {}
}

/// The metric that passes the means over all validation batches to the sink, and the validation loss to the checkpointing strategy.
#[derive(Clone)]
pub(super) struct ValidationMean {
    pub(super) steps: StepMetric,
    pub(super) scores: Scores,
    pub(super) n_batches: usize,
    /// burn-train's epoch, from 1.
    pub(super) epoch: usize,
    pub(super) n_steps: usize,
    /// Sums over the batches so far, and the number of their examples.
    pub(super) so_far: Vec<(&'static str, f64, usize)>,
}

impl Metric for ValidationMean {
    type Input = StepReport;

    fn name(&self) -> MetricName {
        Arc::new("validation".into())
    }

    fn update(
        &mut self,
        report: &StepReport,
        progress: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        for (name, value) in values_of(report)? {
            let sum = f64::from(value) * report.n as f64;
            match self.so_far.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, total, n)) => (*total, *n) = (*total + sum, *n + report.n),
                None => self.so_far.push((name, sum, report.n)),
            }
        }
        if progress.iteration == Some(self.n_batches) {
            let means: Vec<(&str, f32)> = self
                .so_far
                .drain(..)
                .map(|(name, sum, n)| (name, (sum / n as f64) as f32))
                .collect();
            let step = (self.epoch * self.steps.checkpoint_every).min(self.n_steps);
            if let Some((_, loss)) = means.first() {
                self.scores.found(self.epoch, step, *loss);
            }
            self.steps.write(Phase::Valid, step, &means);
            self.epoch += 1;
        }
        Ok(SerializedEntry::not_available(None))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::not_available(None))
    }

    fn clear(&mut self) {}
}

/// Disables burn-train's display: the metric sink reports progress.
pub(super) struct NullRenderer;

impl MetricsRendererTraining for NullRenderer {
    fn update_train(&mut self, _: MetricState) {}
    fn update_valid(&mut self, _: MetricState) {}
}

impl MetricsRendererEvaluation for NullRenderer {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl TrainingProgressLogger for NullRenderer {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn update_epoch(&mut self, _: usize) {}
    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for NullRenderer {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRenderer for NullRenderer {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _: MetricDefinition) {}
}
