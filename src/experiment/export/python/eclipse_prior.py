"""A prior without a time token, or one that reads only part of a caption: what diffusers' `PriorTransformer` cannot be told to be.

Weights and configuration are those of `PriorTransformer`; `conditioning` is the one key that it does not have.
"""
import torch
from diffusers import PriorTransformer
from diffusers.configuration_utils import register_to_config
from diffusers.models.transformers.prior_transformer import PriorTransformerOutput


class EclipsePrior(PriorTransformer):
    """`PriorTransformer` without time where `additional_embeddings` is 3.

    `conditioning`: "both", "pooled" (the text embedding alone) or "hidden" (the hidden states alone).
    """

    @register_to_config
    def __init__(
        self,
        num_attention_heads=32,
        attention_head_dim=64,
        num_layers=20,
        embedding_dim=768,
        num_embeddings=77,
        additional_embeddings=4,
        dropout=0.0,
        time_embed_act_fn="silu",
        norm_in_type=None,
        embedding_proj_norm_type=None,
        encoder_hid_proj_type="linear",
        added_emb_type="prd",
        time_embed_dim=None,
        embedding_proj_dim=None,
        clip_embed_dim=None,
        conditioning="both",
    ):
        super().__init__(
            num_attention_heads,
            attention_head_dim,
            num_layers,
            embedding_dim,
            num_embeddings,
            additional_embeddings,
            dropout,
            time_embed_act_fn,
            norm_in_type,
            embedding_proj_norm_type,
            encoder_hid_proj_type,
            added_emb_type,
            time_embed_dim,
            embedding_proj_dim,
            clip_embed_dim,
        )
        if additional_embeddings == 3:
            self.time_embedding = None

    @property
    def has_time(self):
        return self.time_embedding is not None

    def forward(
        self,
        hidden_states,
        timestep,
        proj_embedding,
        encoder_hidden_states,
        attention_mask,
        return_dict=True,
    ):
        """`hidden_states`, `proj_embedding`: [batch, d]; `encoder_hidden_states`: [batch, n_text, d]; `attention_mask`: [batch, n_text].

        `timestep` is ignored by a prior without time.
        """
        if self.config.conditioning == "hidden":
            proj_embedding = torch.zeros_like(proj_embedding)
        if self.config.conditioning == "pooled":
            attention_mask = torch.zeros_like(attention_mask)
        if self.has_time:
            return super().forward(
                hidden_states, timestep, proj_embedding, encoder_hidden_states, attention_mask, return_dict
            )
        if self.embedding_proj_norm is not None:
            proj_embedding = self.embedding_proj_norm(proj_embedding)
        x = torch.cat(
            [
                self.encoder_hidden_states_proj(encoder_hidden_states),
                self.embedding_proj(proj_embedding)[:, None],
                self.proj_in(hidden_states)[:, None],
                self.prd_embedding.to(hidden_states.dtype).expand(len(hidden_states), -1, -1),
            ],
            dim=1,
        )
        x = x + self.positional_embedding.to(hidden_states.dtype)
        mask = (1 - attention_mask.to(hidden_states.dtype)) * -10000.0
        mask = torch.nn.functional.pad(mask, (0, self.additional_embeddings), value=0.0)
        mask = (mask[:, None, :] + self.causal_attention_mask).to(hidden_states.dtype)
        mask = mask.repeat_interleave(self.config.num_attention_heads, dim=0)
        if self.norm_in is not None:
            x = self.norm_in(x)
        for block in self.transformer_blocks:
            x = block(x, attention_mask=mask)
        predicted = self.proj_to_clip_embeddings(self.norm_out(x)[:, -1])
        return PriorTransformerOutput(predicted) if return_dict else (predicted,)
