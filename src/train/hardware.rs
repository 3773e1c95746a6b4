//! The devices of a training.

use burn::prelude::*;

use super::session::{Strategy, Workers};

/// The devices of a training, without autodiff.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// Where the network is.
    pub device: Device,
    /// Devices that compute steps too.
    pub others: Vec<Device>,
    /// How the devices work together.
    pub strategy: Strategy,
}

impl Hardware {
    /// One device.
    pub fn one(device: Device) -> Self {
        Self {
            device,
            others: vec![],
            strategy: Strategy::default(),
        }
    }

    /// All devices with autodiff, if there are several.
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

    /// The devices that the micro-batches of the one worker go to, with autodiff; none: its own.
    pub fn micro_batch_devices(&self) -> Vec<Device> {
        let devices = self
            .autodiff_devices()
            .filter(|_| self.strategy == Strategy::Parts);
        devices.unwrap_or_default()
    }
}
