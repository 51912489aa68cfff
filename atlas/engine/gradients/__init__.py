"""Attribution and ablation that need torch: gradients of a prediction, occluded tokens, switched-off heads."""
