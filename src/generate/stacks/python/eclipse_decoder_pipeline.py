"""Image embedding to image with the small decoders of `eclipse`'s built-in worlds. Loaded by `DiffusionPipeline.from_pretrained(.., trust_remote_code=True)`."""
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor


class EclipseDecoderPipeline(DiffusionPipeline):
    """As `KandinskyV22Pipeline`, with squares of pixels in the place of MoVQ's latents, and a UNet that predicts the clean sample."""

    def __init__(self, unet, scheduler, pixel_space, num_inference_steps=4, guidance_scale=2.0):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, pixel_space=pixel_space)
        self.register_to_config(num_inference_steps=num_inference_steps, guidance_scale=guidance_scale)

    @torch.no_grad()
    def __call__(
        self,
        image_embeds,
        negative_image_embeds=None,
        num_inference_steps=None,
        guidance_scale=None,
        generator=None,
        latents=None,
        output_type="pil",
        return_dict=True,
    ):
        """Draws an image for each row of `image_embeds` `[n, d]`; guidance pushes away from `negative_image_embeds` `[n, d]`."""
        unet, device = self.unet, self._execution_device
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        is_guided = scale > 1.0 and negative_image_embeds is not None
        parts = [negative_image_embeds, image_embeds] if is_guided else [image_embeds]
        condition = torch.cat(parts).to(device, unet.dtype)
        n, side = len(image_embeds), unet.config.sample_size
        if latents is None:
            shape = (n, unet.config.in_channels, side, side)
            latents = randn_tensor(shape, generator=generator, device=device, dtype=unet.dtype)
        keywords = {"added_cond_kwargs": {"image_embeds": condition}}
        if unet.config.class_embed_type == "timestep":
            # The level of the noise on the embedding: none.
            keywords["class_labels"] = torch.zeros(len(condition), device=device)
        self.scheduler.set_timesteps(steps, device=device)
        x = latents.to(device) * self.scheduler.init_noise_sigma
        for t in self.progress_bar(self.scheduler.timesteps):
            predicted = unet(torch.cat([x] * len(parts)), t, None, **keywords).sample
            if is_guided:
                away, towards = predicted.chunk(2)
                predicted = away + scale * (towards - away)
            x = self.scheduler.step(predicted, t, x, generator=generator).prev_sample
        image = self.pixel_space.decode(x)
        self.maybe_free_model_hooks()
        if output_type != "pt":
            image = (image * 0.5 + 0.5).clamp(0, 1).cpu().permute(0, 2, 3, 1).float().numpy()
        if output_type == "pil":
            image = self.numpy_to_pil(image)
        return ImagePipelineOutput(images=image) if return_dict else (image,)
