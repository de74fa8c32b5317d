"""Make exported ranking models cheaper to serve without changing one prediction."""
