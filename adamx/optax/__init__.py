"""adamx for optax: any rule as a gradient transformation, and the watch on a training.

optimizer = adamx.optax.transformation("adopt", learning_rate=1e-3)
optimizer = adamx.optax.watch(optax.adamw, learning_rate=1e-3, b2=0.95)
"""

from adamx.optax.rules import RuleState, factory, precise, transformation
from adamx.optax.watched import Watched, watch

__all__ = ["RuleState", "Watched", "factory", "precise", "transformation", "watch"]
