package pgstore

func childBuy(url string) int { return 2 }
