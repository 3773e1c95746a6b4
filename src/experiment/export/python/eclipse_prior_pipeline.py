"""Prompt to image embedding with any prior that `eclipse export` writes. Loaded by `DiffusionPipeline.from_pretrained(.., trust_remote_code=True)`."""
import diffusers.pipelines
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, KandinskyV22PriorPipeline, UnCLIPScheduler
from diffusers.pipelines.kandinsky import KandinskyPriorPipelineOutput
from diffusers.schedulers import DDIMScheduler
from diffusers.utils.torch_utils import randn_tensor

# Since Karlo's pipelines were deprecated, diffusers no longer finds the module that their folders name.
if not hasattr(diffusers.pipelines, "unclip"):
    try:
        from diffusers.pipelines.deprecated import unclip

        diffusers.pipelines.unclip = unclip
    except ImportError:
        pass


class EclipsePriorPipeline(KandinskyV22PriorPipeline):
    """`KandinskyV22PriorPipeline` for priors in one pass, with any noise schedule, or trained by flow matching.

    `num_inference_steps`, `guidance_scale`, `eta`: how the prior is sampled when a call does not say; a prior in one pass ignores them.
    """

    _optional_components = ["scheduler", "image_encoder", "image_processor"]

    def __init__(
        self,
        prior,
        text_encoder,
        tokenizer,
        image_encoder=None,
        scheduler=None,
        image_processor=None,
        num_inference_steps=25,
        guidance_scale=4.0,
        eta=1.0,
    ):
        super().__init__(prior, image_encoder, text_encoder, tokenizer, scheduler, image_processor)
        self.register_to_config(
            num_inference_steps=num_inference_steps, guidance_scale=guidance_scale, eta=eta
        )

    @torch.no_grad()
    def __call__(
        self,
        prompt,
        negative_prompt=None,
        num_images_per_prompt=1,
        num_inference_steps=None,
        generator=None,
        latents=None,
        guidance_scale=None,
        eta=None,
        output_type="pt",
        return_dict=True,
    ):
        """Predicts image embeddings `[prompts x images, d]`, beside what a decoder's guidance pushes away from.

        That is the embedding of the zero image, or the prior's of `negative_prompt`. `latents`: the first noise, `[prompts x images, d]`.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        n_wanted = len(prompts) * num_images_per_prompt
        if negative_prompt is not None:
            negative = [negative_prompt] if isinstance(negative_prompt, str) else list(negative_prompt)
            prompts += negative * (len(prompts) // len(negative))
        settings = self.config
        steps = settings.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = settings.guidance_scale if guidance_scale is None else guidance_scale
        eta = settings.eta if eta is None else eta
        self._guidance_scale = scale if self.scheduler is not None else 1.0

        device = self._execution_device
        condition = self._encode_prompt(
            prompts, device, num_images_per_prompt, self.do_classifier_free_guidance
        )
        shape = (len(prompts) * num_images_per_prompt, self.prior.config.embedding_dim)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=device, dtype=condition[0].dtype)
        x = latents.to(device)
        if self.scheduler is None:
            z = self.prior(x, None, *condition).predicted_image_embedding
        elif isinstance(self.scheduler, FlowMatchEulerDiscreteScheduler):
            z = self.prior.post_process_latents(self._flow(x, steps, condition))
        else:
            z = self.prior.post_process_latents(self._diffuse(x, steps, eta, generator, condition))

        if negative_prompt is not None:
            z, away = z[:n_wanted], z[n_wanted:]
        else:
            away = self.get_zero_embed(n_wanted, device=device) if self.image_encoder is not None else None
        self.maybe_free_model_hooks()
        if output_type == "np":
            z, away = z.cpu().numpy(), None if away is None else away.cpu().numpy()
        if not return_dict:
            return z, away
        return KandinskyPriorPipelineOutput(image_embeds=z, negative_image_embeds=away)

    def _predict(self, x, t, condition):
        """The network's prediction, guided: away from the empty prompt, whose half of the batch comes first."""
        if not self.do_classifier_free_guidance:
            return self.prior(x, t, *condition).predicted_image_embedding
        away, towards = self.prior(torch.cat([x, x]), t, *condition).predicted_image_embedding.chunk(2)
        return away + self.guidance_scale * (towards - away)

    def _flow(self, x, steps, condition):
        """Euler steps from noise (sigma 1) to the clean sample (sigma 0)."""
        n_train = self.scheduler.config.num_train_timesteps
        predicts_sample = self.scheduler.config.get("prediction_type") == "sample"
        for i in self.progress_bar(range(steps)):
            sigma, after = (steps - i) / steps, (steps - i - 1) / steps
            velocity = self._predict(x, torch.tensor(sigma * n_train, device=x.device), condition)
            if predicts_sample:
                velocity = (x - velocity) / sigma
            x = x + velocity * (after - sigma)
        return x

    def _diffuse(self, x, steps, eta, generator, condition):
        """Ancestral sampling; `eta` is the weight of the noise that a step adds, and DDIM's own."""
        scheduler = self.scheduler
        scheduler.set_timesteps(steps, device=x.device)
        x = x * scheduler.init_noise_sigma
        timesteps = scheduler.timesteps
        keywords = {}
        if isinstance(scheduler, DDIMScheduler):
            keywords["eta"] = eta
        elif eta != 1.0:
            # UnCLIP's fixed variance comes as a standard deviation, DDPM's as a variance.
            variance = type(scheduler)._get_variance
            factor = eta if isinstance(scheduler, UnCLIPScheduler) else eta**2
            scheduler._get_variance = lambda *args, **kwargs: factor * variance(scheduler, *args, **kwargs)
        try:
            for i, t in enumerate(self.progress_bar(timesteps)):
                if isinstance(scheduler, UnCLIPScheduler):
                    keywords["prev_timestep"] = timesteps[i + 1] if i + 1 < len(timesteps) else None
                predicted = self._predict(x, t, condition)
                x = scheduler.step(predicted, t, x, generator=generator, **keywords).prev_sample
        finally:
            scheduler.__dict__.pop("_get_variance", None)
        return x
