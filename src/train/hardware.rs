//! The devices of a training.

use burn::prelude::*;

use super::session::{Strategy, Workers};

/// The devices of a training, without autodiff.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// The device of the network.
    pub device: Device,
    /// Additional devices.
    pub others: Vec<Device>,
    /// How the devices share a step.
    pub strategy: Strategy,
}

impl Hardware {
    /// A single device.
    pub fn one(device: Device) -> Self {
        Self {
            device,
            others: vec![],
            strategy: Strategy::default(),
        }
    }

    /// All devices with autodiff, if there is more than one.
    fn autodiff_devices(&self) -> Option<Vec<Device>> {
        let all = std::iter::once(&self.device).chain(&self.others);
        (!self.others.is_empty()).then(|| all.map(|d| d.clone().autodiff()).collect())
    }

    /// The workers of a session.
    pub fn workers(&self) -> Workers {
        match (self.strategy, self.autodiff_devices()) {
            (Strategy::Parts, _) | (_, None) => Workers::One,
            (Strategy::MultiDevice, Some(devices)) => Workers::MultiDevice(devices),
            (Strategy::Ddp, Some(devices)) => Workers::Ddp(devices),
        }
    }

    /// The devices, with autodiff, that compute the micro-batches of a single worker; empty: the worker's own device.
    pub fn micro_batch_devices(&self) -> Vec<Device> {
        let devices = self
            .autodiff_devices()
            .filter(|_| self.strategy == Strategy::Parts);
        devices.unwrap_or_default()
    }
}
